//! How many tokens a text has, without a tokenizer.
//!
//! For: the size of a hold ([`Estimate::upper`]), and the charge where a provider gives no counts
//! ([`Estimate::likely`]).
//! May not touch: vocabularies. A byte-pair encoder would cost more time than all the rest of a call, and most
//! providers do not publish theirs.
//! Claims: linear time, no allocation; cutting a text into pieces does not change the count; the upper guess is not
//! below the true count for natural language, code and JSON with the tokenizers of OpenAI. Strings of random letters
//! and rare ideographs can have up to twice the guess; then the provider's own count still settles the call.

/// Counts text as it comes.
///
/// Tokenizers split text at changes of kind (letters, digits, signs, spaces) and join what is frequent. So a piece
/// costs most of a token when it begins and little as it goes on; what is outside ASCII costs by its block. The costs
/// are in eighths of a token, fitted against o200k and cl100k from above.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    eighths: u64,
    /// Tokens that may be there beside those: they are held for, and not guessed to have been.
    unsure: u64,
    before: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Other,
    Space,
    Lower,
    Upper,
    Digit,
    Sign,
}

impl Estimate {
    /// Counts a piece of text. The next piece is taken to follow without a gap.
    pub fn text(&mut self, text: &str) {
        for character in text.chars() {
            let (kind, cost) = cost(self.before, character);
            self.eighths = self.eighths.saturating_add(cost);
            self.before = kind;
        }
    }

    /// Counts tokens that are no text: the frame of a message, an image.
    pub fn tokens(&mut self, count: u64) {
        self.eighths = self.eighths.saturating_add(count.saturating_mul(8));
        self.before = Kind::Other;
    }

    /// Counts what is likely to be `likely` tokens and may be as many as `most`: what lies behind an address.
    pub fn between(&mut self, likely: u64, most: u64) {
        self.tokens(likely);
        self.unsure = self.unsure.saturating_add(most.saturating_sub(likely));
    }

    /// Counts what another estimate has counted.
    pub fn add(&mut self, other: Self) {
        self.tokens(other.eighths.div_ceil(8));
        self.unsure = self.unsure.saturating_add(other.unsure);
    }

    /// Has anything been counted?
    pub fn is_empty(&self) -> bool {
        self.eighths == 0 && self.unsure == 0
    }

    /// A guess from above: what a hold is sized with.
    pub fn upper(&self) -> u64 {
        self.eighths.div_ceil(8).saturating_add(self.unsure)
    }

    /// A guess of the true count, which is about two thirds of the upper one: what a call is charged for when its
    /// provider gives no counts.
    pub fn likely(&self) -> u64 {
        self.eighths.div_ceil(12)
    }
}

fn cost(before: Kind, character: char) -> (Kind, u64) {
    match character {
        'a'..='z' => match before {
            Kind::Lower => (Kind::Lower, 2),
            Kind::Upper => (Kind::Lower, 4),
            Kind::Space => (Kind::Lower, 6),
            Kind::Digit | Kind::Sign | Kind::Other => (Kind::Lower, 7),
        },
        'A'..='Z' => match before {
            Kind::Upper => (Kind::Upper, 4),
            Kind::Space => (Kind::Upper, 6),
            Kind::Lower | Kind::Digit | Kind::Sign | Kind::Other => (Kind::Upper, 9),
        },
        '0'..='9' => (Kind::Digit, if before == Kind::Digit { 4 } else { 9 }),
        '\0'..=' ' => (Kind::Space, if before == Kind::Space { 1 } else { 2 }),
        '!'..='\u{7f}' => (Kind::Sign, if before == Kind::Sign { 6 } else { 7 }),
        '\u{80}'..='\u{7ff}' => (Kind::Other, 7),
        '\u{800}'..='\u{1fff}' => (Kind::Other, 10),
        '\u{2000}'..='\u{2fff}' => (Kind::Other, 18),
        '\u{3000}'..='\u{ffff}' => (Kind::Other, 12),
        '\u{10000}'.. => (Kind::Other, 32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn estimate(text: &str) -> Estimate {
        let mut estimate = Estimate::default();
        estimate.text(text);
        estimate
    }

    /// A text with its true counts: o200k_base, cl100k_base.
    const COUNTED: &[(&str, u64, u64)] = &[
        (
            "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
            39,
            39,
        ),
        (
            "Prepaid telecom charging is the precedent for this design. A node that serves an account without a usable lease asks for one, and the ledger grants it a slice of what is available. The node spends that slice locally, without asking again for every call, and reports what it spent in batches.",
            59,
            59,
        ),
        ("人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。", 37, 52),
        ("请用通俗易懂的语言解释一下量子纠缠的原理,并举三个生活中的例子。", 27, 38),
        ("すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。", 35, 45),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", 24, 41),
        ("Все люди рождаются свободными и равными в своем достоинстве и правах.", 17, 35),
        ("يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.", 18, 37),
        ("มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ", 32, 65),
        ("सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।", 25, 84),
        (
            "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Donaudampfschifffahrtsgesellschaftskapitän.",
            27,
            33,
        ),
        (
            "impl UnitPrices {\n    /// Each class with its name.\n    pub fn classes(&self) -> [(&'static str, Decimal); 11] {\n        [(\"input\", self.input), (\"cache_read\", self.cache_read)]\n    }\n}\n",
            51,
            50,
        ),
        (
            "def fib(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n\nif __name__ == '__main__':\n    print([fib(i) for i in range(10)])\n",
            58,
            58,
        ),
        (
            "{\"id\":\"chatcmpl-123\",\"object\":\"chat.completion\",\"created\":1677652288,\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}",
            35,
            34,
        ),
        (
            "!function(e,t){\"object\"==typeof exports?module.exports=t():e.n=t()}(this,(function(){var e,t=[],n=0;for(e=0;e<t.length;++e)n+=t[e]^0x1f;return n}));",
            56,
            57,
        ),
        ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 43, 43),
        ("018f3c6e-7b1a-7c2d-9e4f-5a6b7c8d9e0f", 34, 34),
        ("3.14159265358979323846264338327950288419716939937510", 19, 19),
        ("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG. WARNING: DO NOT OPEN.", 20, 21),
        ("!@#$%^&*()_+-=[]{}|;':\",./<>?`~ !!! ### $$$ %%% ^^^ &&& *** ((( )))", 33, 32),
        ("😀😃👍🏽👨‍👩‍👧‍👦🇨🇳❤️🔥", 23, 40),
        ("∀x∈ℝ: ∑_{i=0}^{n} i² = n(n+1)(2n+1)/6 ⇒ ∂f/∂x ≈ √(α²+β²)", 48, 51),
        ("a b c d e f g h i j k l m n o p", 16, 16),
    ];

    #[test]
    fn the_upper_guess_is_never_below_the_true_count() {
        for (text, o200k, cl100k) in COUNTED {
            let upper = estimate(text).upper();
            assert!(upper >= *o200k.max(cl100k), "{upper} < {o200k}/{cl100k}: {text}");
        }
    }

    #[test]
    fn the_upper_guess_of_prose_and_code_is_not_absurd() {
        for (text, o200k, cl100k) in COUNTED.iter().filter(|(text, ..)| text.is_ascii()) {
            assert!(estimate(text).upper() <= o200k.max(cl100k) * 2, "{text}");
        }
    }

    #[test]
    fn the_likely_guess_of_prose_and_code_is_within_a_third() {
        for (text, o200k, _) in COUNTED.iter().filter(|(text, ..)| text.is_ascii() && text.len() > 100) {
            let likely = estimate(text).likely();
            assert!(likely * 3 >= o200k * 2 && likely * 3 <= o200k * 4, "{likely} for {o200k}: {text}");
        }
    }

    #[test]
    fn one_character_is_at_least_one_token() {
        for text in ["a", "Z", "7", " ", ".", "é", "中", "😀"] {
            assert!(estimate(text).upper() >= 1 && estimate(text).likely() >= 1, "{text}");
        }
        assert_eq!(estimate("").upper(), 0);
    }

    proptest! {
        #[test]
        fn cutting_a_text_changes_nothing(parts: Vec<String>) {
            let mut pieces = Estimate::default();
            parts.iter().for_each(|part| pieces.text(part));
            prop_assert_eq!(pieces.upper(), estimate(&parts.concat()).upper());
        }
    }
}
