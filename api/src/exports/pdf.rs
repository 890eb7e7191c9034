//! PDF pages of text: lines set one under the other, numbers flush right.
//!
//! No font is embedded. Latin text is in Helvetica, which every reader brings; what it cannot write is in the Chinese song face
//! that readers find on their system (STSong-Light, by Unicode), with the map that lets anything read the text back. A reader
//! without such a face shows Latin and numbers; what lies beyond Unicode's first plane is a question mark.
//!
//! Positions are whole points: what a page needs, and no sums of floating point.

use pdf_writer::types::{CidFontType, FontFlags, SystemInfo};
use pdf_writer::{Content, Name, Pdf, Rect, Ref, Str, TextStr};

/// A4, in points.
const WIDTH: i16 = 595;
const HEIGHT: i16 = 842;
/// Where text begins and ends.
pub const LEFT: i16 = 48;
/// As [`LEFT`].
pub const RIGHT: i16 = 547;
const TOP: i16 = 790;
const BOTTOM: i16 = 60;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const INFO: Ref = Ref::new(3);
const PLAIN: Ref = Ref::new(4);
const BOLD: Ref = Ref::new(5);
const WIDE: Ref = Ref::new(6);
const WIDE_DESCENDANT: Ref = Ref::new(7);
const WIDE_DESCRIPTOR: Ref = Ref::new(8);
const WIDE_MAP: Ref = Ref::new(9);
const FIRST_PAGE: i32 = 10;

/// Which face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Plain.
    Plain,
    /// Bold.
    Bold,
}

/// Where a text stands on its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It begins here, and has room up to there; what is longer is cut.
    From(i16, i16),
    /// It ends here.
    To(i16),
}

/// A document under way.
pub struct Document {
    title: String,
    pages: Vec<Content>,
    /// How far down the present page is written.
    y: i16,
    is_wide_used: bool,
}

impl Document {
    /// With one empty page.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), pages: vec![Content::new()], y: TOP, is_wide_used: false }
    }

    /// Goes down by so many points; to a new page where there is no room for so many more. Answers whether it is a new one.
    pub fn down(&mut self, by: i16) -> bool {
        self.y -= by;
        if self.y >= BOTTOM {
            return false;
        }
        self.pages.push(Content::new());
        self.y = TOP;
        true
    }

    /// Writes a text on the present line.
    pub fn text(&mut self, face: Face, size: i16, place: Place, text: &str) {
        let text = match place {
            Place::From(start, end) => cut(text, face, size, end - start),
            Place::To(_) => text.to_owned(),
        };
        let mut x = match place {
            Place::From(start, _) => start,
            Place::To(end) => end - width(&text, face, size),
        };
        let y = self.y;
        for (is_wide, run) in runs(&text) {
            self.is_wide_used |= is_wide;
            let Some(page) = self.pages.last_mut() else { return };
            let font = match (is_wide, face) {
                (true, _) => Name(b"F3"),
                (false, Face::Plain) => Name(b"F1"),
                (false, Face::Bold) => Name(b"F2"),
            };
            let bytes = if is_wide { wide_bytes(&run) } else { run.chars().filter_map(latin).collect() };
            page.begin_text();
            page.set_font(font, f32::from(size));
            page.next_line(f32::from(x), f32::from(y));
            page.show(Str(&bytes));
            page.end_text();
            x += width(&run, face, size);
        }
    }

    /// Draws a line across the page, a little below the present one.
    pub fn rule(&mut self) {
        let y = f32::from(self.y - 4);
        if let Some(page) = self.pages.last_mut() {
            page.set_line_width(0.5);
            page.move_to(f32::from(LEFT), y);
            page.line_to(f32::from(RIGHT), y);
            page.stroke();
        }
    }

    /// The file. Each page's foot says `foot` and which page it is.
    pub fn finish(mut self, foot: &str) -> Vec<u8> {
        let count = self.pages.len();
        let pages = std::mem::take(&mut self.pages);
        let mut written = Vec::with_capacity(count);
        for (at, page) in pages.into_iter().enumerate() {
            self.pages = vec![page];
            self.y = 36;
            self.text(Face::Plain, 7, Place::From(LEFT, 460), foot);
            self.text(Face::Plain, 7, Place::To(RIGHT), &format!("page {} of {count}", at + 1));
            written.append(&mut self.pages);
        }
        let mut pdf = Pdf::new();
        pdf.catalog(CATALOG).pages(PAGES);
        pdf.document_info(INFO).title(TextStr(&self.title)).producer(TextStr("NexusRoute"));
        let ids: Vec<(Ref, Ref)> = (0..)
            .map(|at: i32| (Ref::new(FIRST_PAGE + 2 * at), Ref::new(FIRST_PAGE + 2 * at + 1)))
            .take(count)
            .collect();
        pdf.pages(PAGES).kids(ids.iter().map(|it| it.0)).count(i32::try_from(count).unwrap_or(i32::MAX));
        pdf.type1_font(PLAIN).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
        pdf.type1_font(BOLD).base_font(Name(b"Helvetica-Bold")).encoding_predefined(Name(b"WinAnsiEncoding"));
        if self.is_wide_used {
            wide_font(&mut pdf);
        }
        for ((id, content_id), content) in ids.into_iter().zip(written) {
            let mut page = pdf.page(id);
            page.media_box(Rect::new(0.0, 0.0, f32::from(WIDTH), f32::from(HEIGHT)))
                .parent(PAGES)
                .contents(content_id);
            let mut resources = page.resources();
            let mut fonts = resources.fonts();
            fonts.pair(Name(b"F1"), PLAIN).pair(Name(b"F2"), BOLD);
            if self.is_wide_used {
                fonts.pair(Name(b"F3"), WIDE);
            }
            fonts.finish();
            resources.finish();
            page.finish();
            pdf.stream(content_id, &content.finish());
        }
        pdf.finish()
    }
}

use pdf_writer::Finish as _;

/// The face of what Helvetica cannot write: named, not embedded.
fn wide_font(pdf: &mut Pdf) {
    let song = Name(b"STSong-Light");
    pdf.type0_font(WIDE)
        .base_font(Name(b"STSong-Light-UniGB-UTF16-H"))
        .encoding_predefined(Name(b"UniGB-UTF16-H"))
        .descendant_font(WIDE_DESCENDANT)
        .to_unicode(WIDE_MAP);
    pdf.cid_font(WIDE_DESCENDANT)
        .subtype(CidFontType::Type0)
        .base_font(song)
        .system_info(SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"GB1"), supplement: 4 })
        .font_descriptor(WIDE_DESCRIPTOR)
        .default_width(1000.0);
    pdf.font_descriptor(WIDE_DESCRIPTOR)
        .name(song)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(-25.0, -254.0, 1000.0, 880.0))
        .italic_angle(0.0)
        .ascent(880.0)
        .descent(-120.0)
        .cap_height(880.0)
        .stem_v(93.0);
    pdf.stream(WIDE_MAP, map().as_bytes());
}

/// The map from the face's codes to characters: they are the same.
fn map() -> String {
    let mut map = String::from(
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) \
         /Supplement 0 >> def\n/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n1 begincodespacerange\n<0000> <FFFF>\n\
         endcodespacerange\n",
    );
    let ranges: Vec<String> =
        (0..=0xff_u16).map(|high| format!("<{high:02X}00> <{high:02X}FF> <{high:02X}00>\n")).collect();
    for block in ranges.chunks(100) {
        map.push_str(&format!("{} beginbfrange\n{}endbfrange\n", block.len(), block.concat()));
    }
    map.push_str("endcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n");
    map
}

/// Stretches of one face.
fn runs(text: &str) -> Vec<(bool, String)> {
    let mut runs: Vec<(bool, String)> = Vec::new();
    for character in text.chars().map(|it| if it.is_control() { ' ' } else { it }) {
        // Beyond the first plane no face of ours has anything.
        let character = if u32::from(character) > 0xffff { '?' } else { character };
        let is_wide = latin(character).is_none();
        match runs.last_mut() {
            Some((same, run)) if *same == is_wide => run.push(character),
            _ => runs.push((is_wide, character.to_string())),
        }
    }
    runs
}

/// A character's byte in WinAnsi; `None`: it has none.
fn latin(character: char) -> Option<u8> {
    match character {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(character)).ok(),
        '€' => Some(0x80),
        '…' => Some(0x85),
        '‘' => Some(0x91),
        '’' => Some(0x92),
        '“' => Some(0x93),
        '”' => Some(0x94),
        '–' => Some(0x96),
        '—' => Some(0x97),
        _ => None,
    }
}

fn wide_bytes(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Widths of Helvetica's characters from the space to the tilde, in thousandths of its size.
const WIDTHS: [i32; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278,
    500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469,
    556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500,
    278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

/// How wide a text is, in points, rounded up.
fn width(text: &str, face: Face, size: i16) -> i16 {
    let thousandths: i32 = text
        .chars()
        .map(|it| match (latin(it), u32::from(it).checked_sub(32)) {
            (None, _) => 1000,
            (Some(_), Some(at)) => {
                // Accented letters are about as wide as most; bold ones a little wider, but digits are not.
                let plain = usize::try_from(at).ok().and_then(|at| WIDTHS.get(at)).copied().unwrap_or(600);
                if face == Face::Bold && it.is_alphabetic() { plain + 40 } else { plain }
            }
            (Some(_), None) => 600,
        })
        .sum();
    i16::try_from((thousandths * i32::from(size) + 999) / 1000).unwrap_or(i16::MAX)
}

/// As much of a text as there is room for.
fn cut(text: &str, face: Face, size: i16, room: i16) -> String {
    if width(text, face, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if width(&kept, face, size) > room - size {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}
