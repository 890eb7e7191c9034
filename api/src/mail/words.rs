//! The words of mails: one template per matter and language, from which the text and the page are made.
//!
//! A template is a subject line, `---`, and paragraphs; one of them may be a button: `[label]({{link}})`.
//! Claims: what is put in is escaped in the page; no placeholder is left over.

use crate::directory::{
    mail::{MailKind, Matter},
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
        (MailKind::KeyLeaked, Language::English) => include_str!("templates/key-leaked.en.txt"),
        (MailKind::KeyLeaked, Language::Chinese) => include_str!("templates/key-leaked.zh-CN.txt"),
        (MailKind::AccountDeleted, Language::English) => include_str!("templates/account-deleted.en.txt"),
        (MailKind::AccountDeleted, Language::Chinese) => include_str!("templates/account-deleted.zh-CN.txt"),
        // What a token is for is no notice.
        (MailKind::Verify | MailKind::Resend | MailKind::Reset, _) => "",
    }
}

/// Writes a mail.
pub fn write(matter: &Matter, language: Language, username: &str, link: &str) -> Words {
    let (subject, body) = template(matter, language).split_once("\n---\n").unwrap_or_default();
    let (mut text, mut content) = (String::new(), String::new());
    let mut put_in = BTreeMap::from([("username".to_owned(), username.to_owned())]);
    if let Matter::Notice(_, details) = matter {
        put_in.extend(details.clone());
    }
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
                content.push_str(&format!("<p>{}</p>\n", filled(paragraph, &put_in, escape)));
            }
        }
    }
    let html = LAYOUT
        .replace("{{language}}", language.as_str())
        .replace("{{subject}}", &escape(subject))
        .replace("{{content}}", content.trim_end());
    Words { subject: subject.to_owned(), text: format!("{}\n", text.trim_end()), html }
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
            let pairs = [("balance", "1.5"), ("threshold", "2"), ("key", "ann's key"), ("prefix", "sk-1…2")];
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        };
        let notices = [
            MailKind::LowBalance,
            MailKind::PasswordChanged,
            MailKind::EmailChanged,
            MailKind::KeyLeaked,
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
