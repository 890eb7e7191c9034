//! The sandbox's pages: small, whole, without script.
//!
//! May not touch: anything but its arguments.
//! Claims: every value is escaped; the pages work under [`policy`], which allows no script, no frame and no foreign
//! address.

use super::{Delivered, Press};
use base64::Engine as _;
use domain::{Money, OrderId};
use sha2::{Digest, Sha256};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1c2128}\
main{max-width:26rem;margin:4rem auto;padding:2rem;background:#fff;border:1px solid #d5d9e0;border-radius:12px}\
h1{font-size:1.1rem;margin:0 0 1rem}\
.amount{font-size:2.2rem;font-weight:600;margin:.5rem 0}\
code{overflow-wrap:anywhere}\
form{margin:.5rem 0}\
button{font:inherit;width:100%;padding:.6rem;border:1px solid #8a93a1;border-radius:8px;background:#fff;cursor:pointer}\
.pay{background:#14653a;border-color:#14653a;color:#fff}\
.note{color:#57606c;font-size:.9rem}\
@media(prefers-color-scheme:dark){body{background:#14171c;color:#e6e9ee}\
main{background:#1d2127;border-color:#3a414b}button{background:#1d2127;color:inherit}\
.pay{background:#2d8a56;border-color:#2d8a56}.note{color:#a3acb8}}";

/// The page with the three buttons. `status` is the order's, as far as it is known here.
pub fn payment(order: OrderId, pay: Money, status: &str) -> String {
    let number = order.merchant_number();
    let button = |press: Press, class: &str, text: &str| {
        let address = format!("/api/payments/{}/{number}/{}", super::NAME, word(press));
        format!(
            "<form method=\"post\" action=\"{}\"><button type=\"submit\"{class}>{}</button></form>\n",
            escaped(&address),
            escaped(text)
        )
    };
    let buttons = [
        button(Press::Pay, " class=\"pay\"", &format!("Pay {pay}")),
        button(Press::Fail, "", "Let the payment fail"),
        button(Press::Cancel, "", "Cancel"),
    ];
    whole(
        "Sandbox payment",
        &format!(
            "<h1>Sandbox payment</h1>\n<p class=\"amount\">{}</p>\n\
             <p>Order <code>{}</code><br>Status: {}</p>\n{}\
             <p class=\"note\">No real money moves. Each button sends a signed callback, as a payment gateway would.</p>\n",
            escaped(&pay.to_string()),
            escaped(&number),
            escaped(status),
            buttons.concat(),
        ),
    )
}

/// The page after a button was pressed. `return_url` is where the payer goes next.
pub fn result(order: OrderId, press: Press, delivered: &Delivered, return_url: &str) -> String {
    let heading = match (delivered.accepted, press) {
        (true, Press::Pay) => "Paid",
        (true, Press::Fail) => "The payment failed, as you asked",
        (true, Press::Cancel) => "Cancelled",
        (false, _) => "The callback was not accepted",
    };
    let number = order.merchant_number();
    whole(
        heading,
        &format!(
            "<h1>{}</h1>\n<p>Order <code>{}</code></p>\n\
             <p>The callback route answered {}: <code>{}</code></p>\n\
             <p><a href=\"{}\">Continue</a> · <a href=\"{}\">Back to the payment page</a></p>\n",
            escaped(heading),
            escaped(&number),
            delivered.status,
            escaped(&delivered.body),
            escaped(return_url),
            escaped(&format!("/api/payments/{}/{number}", super::NAME)),
        ),
    )
}

/// The `Content-Security-Policy` of both pages: nothing but the one style sheet in them, and forms to ourselves.
pub fn policy() -> String {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

/// A press as it stands in the path.
pub fn word(press: Press) -> &'static str {
    match press {
        Press::Pay => "pay",
        Press::Fail => "fail",
        Press::Cancel => "cancel",
    }
}

fn whole(title: &str, main: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{main}</main>\n</body>\n</html>\n",
        escaped(title)
    )
}

/// Safe as text and within a double-quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Currency;

    fn order() -> OrderId {
        OrderId::from_uuid(uuid::Uuid::from_u128(7))
    }

    #[test]
    fn the_page_shows_amount_and_order_and_posts_three_plain_forms() {
        let pay = Money::parse("50.00", Currency::try_new("CNY").unwrap()).unwrap();
        let page = payment(order(), pay, "pending");
        let number = order().merchant_number();
        assert!(page.contains("50.00 CNY") && page.contains(&number));
        for press in ["pay", "fail", "cancel"] {
            let form = format!("<form method=\"post\" action=\"/api/payments/sandbox/{number}/{press}\">");
            assert!(page.contains(&form), "{press}");
        }
        assert!(!page.contains("<script") && !page.contains(" on") && !page.contains("style=\""));
    }

    #[test]
    fn foreign_text_is_escaped() {
        let evil = "\"><script>alert('&')</script>";
        let delivered = Delivered { status: 500, body: evil.to_owned(), accepted: false };
        let page = result(order(), Press::Pay, &delivered, evil);
        assert!(!page.contains("<script"));
        let safe = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;";
        assert_eq!(page.matches(safe).count(), 2);
        let pay = Money::parse("50.00", Currency::try_new("CNY").unwrap()).unwrap();
        assert!(!payment(order(), pay, evil).contains("<script"));
    }

    #[test]
    fn the_policy_names_the_style_that_the_pages_carry() {
        let delivered = Delivered { status: 200, body: "success".to_owned(), accepted: true };
        let page = result(order(), Press::Cancel, &delivered, "/");
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
        assert!(policy().contains(&format!("'sha256-{hash}'")));
        assert!(!policy().contains("unsafe"));
    }
}
