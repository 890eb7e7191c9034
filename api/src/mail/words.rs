//! The words of mails: one template per matter and language, from which the text and the page are made.
//!
//! A template is a subject line, `---`, and paragraphs; one of them may be a button: `[label]({{link}})`.
//! Claims: what is put in is escaped in the page; no placeholder is left over.

use crate::directory::{
    mail::{MailKind, Matter},
    notice::LoginChange,
    settings::Language,
};

use std::collections::BTreeMap;

/// A mail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The subject line.
    pub subject: String,
    /// For programs that show text.
    pub text: String,
    /// For programs that show pages.
    pub html: String,
}

const LAYOUT: &str = include_str!("templates/layout.html");
const BUTTON: &str = "display:inline-block;padding:10px 18px;background:#1a56db;color:#ffffff;border-radius:6px;text-decoration:none";

fn template(matter: &Matter, language: Language) -> &'static str {
    match (matter, language) {
        (Matter::Verify(_), Language::English) => include_str!("templates/verify.en.txt"),
        (Matter::Verify(_), Language::Chinese) => include_str!("templates/verify.zh-CN.txt"),
        (Matter::Reset(_), Language::English) => include_str!("templates/reset.en.txt"),
        (Matter::Reset(_), Language::Chinese) => include_str!("templates/reset.zh-CN.txt"),
        (Matter::AccountExists, Language::English) => include_str!("templates/account-exists.en.txt"),
        (Matter::AccountExists, Language::Chinese) => include_str!("templates/account-exists.zh-CN.txt"),
        (Matter::Notice(kind, _), language) => notice(*kind, language),
    }
}

fn notice(kind: MailKind, language: Language) -> &'static str {
    match (kind, language) {
        (MailKind::LowBalance, Language::English) => include_str!("templates/low-balance.en.txt"),
        (MailKind::LowBalance, Language::Chinese) => include_str!("templates/low-balance.zh-CN.txt"),
        (MailKind::PasswordChanged, Language::English) => include_str!("templates/password-changed.en.txt"),
        (MailKind::PasswordChanged, Language::Chinese) => {
            include_str!("templates/password-changed.zh-CN.txt")
        }
        (MailKind::EmailChanged, Language::English) => include_str!("templates/email-changed.en.txt"),
        (MailKind::EmailChanged, Language::Chinese) => include_str!("templates/email-changed.zh-CN.txt"),
        (MailKind::LoginChanged, Language::English) => include_str!("templates/login-changed.en.txt"),
        (MailKind::LoginChanged, Language::Chinese) => include_str!("templates/login-changed.zh-CN.txt"),
        (MailKind::Announcement, Language::English) => include_str!("templates/announcement.en.txt"),
        (MailKind::Announcement, Language::Chinese) => include_str!("templates/announcement.zh-CN.txt"),
        (MailKind::Statement, Language::English) => include_str!("templates/statement.en.txt"),
        (MailKind::Statement, Language::Chinese) => include_str!("templates/statement.zh-CN.txt"),
        (MailKind::KeyLeaked, Language::English) => include_str!("templates/key-leaked.en.txt"),
        (MailKind::KeyLeaked, Language::Chinese) => include_str!("templates/key-leaked.zh-CN.txt"),
        (MailKind::RefundRequested, Language::English) => include_str!("templates/refund-requested.en.txt"),
        (MailKind::RefundRequested, Language::Chinese) => {
            include_str!("templates/refund-requested.zh-CN.txt")
        }
        (MailKind::RefundCompleted, Language::English) => include_str!("templates/refund-completed.en.txt"),
        (MailKind::RefundCompleted, Language::Chinese) => {
            include_str!("templates/refund-completed.zh-CN.txt")
        }
        (MailKind::RefundFailed, Language::English) => include_str!("templates/refund-failed.en.txt"),
        (MailKind::RefundFailed, Language::Chinese) => include_str!("templates/refund-failed.zh-CN.txt"),
        (MailKind::AccountDeleted, Language::English) => include_str!("templates/account-deleted.en.txt"),
        (MailKind::AccountDeleted, Language::Chinese) => include_str!("templates/account-deleted.zh-CN.txt"),
        // What a token is for is no notice.
        (MailKind::Verify | MailKind::Resend | MailKind::Reset, _) => "",
    }
}

/// A change of the ways to log in, as it is told to whom it concerns.
fn login_change(change: LoginChange, language: Language) -> &'static str {
    let (english, chinese) = match change {
        LoginChange::TotpOn => {
            ("codes of an authenticator app are asked for from now on", "已启用验证器应用")
        }
        LoginChange::TotpOff => {
            ("codes of an authenticator app are not asked for any more", "已停用验证器应用")
        }
        LoginChange::RecoveryCodesMade => (
            "new recovery codes were made, and the old ones do not work any more",
            "已生成新的恢复代码，旧代码已失效",
        ),
        LoginChange::RecoveryCodeUsed => ("a recovery code was used", "使用了一个恢复代码"),
        LoginChange::PasskeyAdded => ("a passkey was added", "添加了一个通行密钥"),
        LoginChange::PasskeyRemoved => ("a passkey was removed", "移除了一个通行密钥"),
        LoginChange::PasskeyRegressed => (
            "a passkey was used whose counter is behind, so that it may have been copied",
            "某个通行密钥的计数器出现回退，可能已被复制",
        ),
        LoginChange::SecondFactorsRemoved => (
            "an operator has removed the authenticator app and the passkeys",
            "管理员移除了验证器应用和通行密钥",
        ),
        LoginChange::IdentityLinked => {
            ("an account at another site can be used to log in", "关联了一个可用于登录的第三方账户")
        }
        LoginChange::IdentityUnlinked => {
            ("an account at another site cannot be used to log in any more", "解除了一个第三方登录账户的关联")
        }
    };
    match language {
        Language::English => english,
        Language::Chinese => chinese,
    }
}

/// A text on one line, as a subject must be.
fn one_line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

/// A text in a page, with its lines kept.
fn escaped_lines(text: &str) -> String {
    escape(text).replace('\n', "<br>\n")
}

/// Writes a mail.
pub fn write(matter: &Matter, language: Language, username: &str, link: &str) -> Words {
    let (subject, body) = template(matter, language).split_once("\n---\n").unwrap_or_default();
    let (mut text, mut content) = (String::new(), String::new());
    let mut put_in = BTreeMap::from([("username".to_owned(), username.to_owned())]);
    if let Matter::Notice(_, details) = matter {
        put_in.extend(details.clone());
        if let Some(change) = details.get("change").and_then(|it| it.parse().ok()) {
            put_in.insert("change".to_owned(), login_change(change, language).to_owned());
        }
    }
    let subject = filled(subject, &put_in, one_line);
    for paragraph in body.trim().split("\n\n") {
        let button = paragraph.strip_prefix('[').and_then(|rest| rest.strip_suffix("]({{link}})"));
        match button {
            Some(label) => {
                text.push_str(&format!("{label}:\n{link}\n\n"));
                let (label, link) = (escape(label), escape(link));
                content.push_str(&format!("<p><a href=\"{link}\" style=\"{BUTTON}\">{label}</a></p>\n"));
                content.push_str(&format!(
                    "<p style=\"font-size:13px;color:#5f6b7a;word-break:break-all\">{link}</p>\n"
                ));
            }
            None => {
                text.push_str(&filled(paragraph, &put_in, str::to_owned));
                text.push_str("\n\n");
                content.push_str(&format!("<p>{}</p>\n", filled(paragraph, &put_in, escaped_lines)));
            }
        }
    }
    let html = LAYOUT
        .replace("{{language}}", language.as_str())
        .replace("{{subject}}", &escape(&subject))
        .replace("{{content}}", content.trim_end());
    Words { subject, text: format!("{}\n", text.trim_end()), html }
}

/// A template with its placeholders filled, in one pass: what is put in is never itself looked through for placeholders.
fn filled(template: &str, put_in: &BTreeMap<String, String>, written: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (index, part) in template.split("{{").enumerate() {
        match part.split_once("}}") {
            Some((name, rest)) if index > 0 => {
                text.push_str(&put_in.get(name).map(|value| written(value)).unwrap_or_default());
                text.push_str(rest);
            }
            Some(_) | None => text.push_str(part),
        }
    }
    text
}

/// A text as it stands in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::Secret;

    #[test]
    fn every_mail_has_its_words_in_both_languages() {
        let secret = || Secret::new("t");
        let details = || {
            let pairs = [
                ("balance", "1.5"),
                ("threshold", "2"),
                ("key", "ann's key"),
                ("prefix", "sk-1…2"),
                ("change", "totp_off"),
                ("title", "Repairs"),
                ("body", "On Sunday.\n\nFrom 02:00."),
                ("month", "2026-10"),
                ("order", "0190b8b211114000800000000000000a"),
                ("amount", "20.00 CNY"),
                ("credits", "2.777777778"),
                ("failure", "the card is closed"),
            ];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        let notices = [
            MailKind::LowBalance,
            MailKind::PasswordChanged,
            MailKind::EmailChanged,
            MailKind::LoginChanged,
            MailKind::Announcement,
            MailKind::Statement,
            MailKind::KeyLeaked,
            MailKind::RefundRequested,
            MailKind::RefundCompleted,
            MailKind::RefundFailed,
            MailKind::AccountDeleted,
        ];
        let notices = notices.map(|kind| Matter::Notice(kind, details()));
        let asked = [Matter::Verify(secret()), Matter::Reset(secret()), Matter::AccountExists];
        for matter in asked.into_iter().chain(notices) {
            let mut subjects = Vec::new();
            for language in [Language::English, Language::Chinese] {
                let words = write(&matter, language, "ann", "https://g.example/x?a=1&b=2");
                assert!(!words.subject.is_empty() && !words.subject.contains('\n'), "{matter:?}");
                assert!(words.text.contains("\nhttps://g.example/x?a=1&b=2\n"), "{}", words.text);
                assert!(words.html.contains("href=\"https://g.example/x?a=1&amp;b=2\""), "{}", words.html);
                assert!(words.html.contains(&format!("<html lang=\"{language}\">")));
                for part in [&words.text, &words.html] {
                    assert!(part.contains("ann") && !part.contains("{{"), "{part}");
                }
                subjects.push(words.subject);
            }
            assert_ne!(subjects[0], subjects[1], "{matter:?}");
        }
    }

    #[test]
    fn what_a_notice_tells_stands_in_its_words_and_is_no_template() {
        let details = [("key", "{{username}} <b>"), ("prefix", "sk-1…2")];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let words =
            write(&Matter::Notice(MailKind::KeyLeaked, details), Language::English, "ann", "https://g/");
        assert!(words.text.contains("{{username}} <b>") && words.text.contains("sk-1…2"), "{}", words.text);
        assert!(words.html.contains("{{username}} &lt;b&gt;"), "{}", words.html);
        let details = [("balance", "1.5"), ("threshold", "2")];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let words =
            write(&Matter::Notice(MailKind::LowBalance, details), Language::Chinese, "ann", "https://g/");
        assert!(words.text.contains("1.5") && words.text.contains('2'), "{}", words.text);
    }

    #[test]
    fn a_refund_is_told_with_its_order_its_amount_and_why_it_failed() {
        let details = [
            ("order", "0190b8b211114000800000000000000a"),
            ("amount", "20.00 CNY"),
            ("credits", "2.777777778"),
            ("failure", "the card is closed"),
        ];
        for (kind, wanted) in
            [(MailKind::RefundRequested, 3), (MailKind::RefundCompleted, 3), (MailKind::RefundFailed, 4)]
        {
            for language in [Language::English, Language::Chinese] {
                let put_in = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                let words = write(&Matter::Notice(kind, put_in), language, "ann", "https://g/");
                let told = details.iter().filter(|(_, it)| words.text.contains(it)).count();
                assert_eq!(told, wanted, "{kind} {language}: {}", words.text);
            }
        }
    }

    #[test]
    fn what_is_announced_keeps_its_lines_and_its_subject_is_one() {
        let details = [("title", "Repairs\r\nBcc: x"), ("body", "On Sunday.\n<b>02:00</b>")];
        let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let matter = Matter::Notice(MailKind::Announcement, details);
        let words = write(&matter, Language::English, "ann", "https://g/");
        assert_eq!(words.subject, "Repairs  Bcc: x");
        assert!(words.text.contains("On Sunday.\n<b>02:00</b>"), "{}", words.text);
        assert!(words.html.contains("On Sunday.<br>\n&lt;b&gt;02:00&lt;/b&gt;"), "{}", words.html);
    }

    #[test]
    fn every_change_of_a_way_in_is_told_in_words() {
        for change in ["totp_on", "recovery_code_used", "identity_linked"] {
            let details = BTreeMap::from([("change".to_owned(), change.to_owned())]);
            let matter = Matter::Notice(MailKind::LoginChanged, details);
            for language in [Language::English, Language::Chinese] {
                let words = write(&matter, language, "ann", "https://g/");
                assert!(!words.text.contains(change), "{}", words.text);
                assert!(words.text.contains(login_change(change.parse().unwrap(), language)));
            }
        }
    }

    #[test]
    fn a_page_holds_what_is_put_in_as_text() {
        let words = write(&Matter::AccountExists, Language::English, "<b>ann", "https://g/\"><script>");
        assert!(
            words.html.contains("Hello &lt;b&gt;ann") && !words.html.contains("<script>"),
            "{}",
            words.html
        );
        assert!(words.text.contains("Hello <b>ann"));
    }
}
