//! Pictures and tables for the terminal: in greys and colours where it has them, in plain characters elsewhere.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. That nobody reads it any more (`| head`) is no reason to break off a training.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// A text for people in lines of at most `most` characters, where words allow it; `indent` before each but the first. A
/// text of several lines, such as an error with its source, has its own shape and keeps it.
pub(crate) fn wrapped(text: &str, indent: &str, most: usize) -> String {
    if text.contains('\n') {
        return text.to_owned();
    }
    let (mut out, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > most {
            out += "\n";
            out += indent;
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += length;
    }
    out
}

/// How things are drawn.
#[derive(Clone, Copy)]
pub(crate) struct Ink {
    colour: bool,
}

impl Ink {
    /// As the terminal behind standard output can; plain characters for a file or a pipe.
    pub(crate) fn stdout() -> Self {
        Self { colour: anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never }
    }

    fn style(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.style("1", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.style("2", text)
    }

    pub(crate) fn right(self, text: &str) -> String {
        self.style("32", text)
    }

    pub(crate) fn wrong(self, text: &str) -> String {
        self.style("1;31", text)
    }

    /// A square grey image, `pixels` [side, side] from 0 (black) to 1 (white), as lines of 2·side characters.
    pub(crate) fn image(self, pixels: &[f32], side: usize) -> Vec<String> {
        if self.colour { half_blocks(pixels, side) } else { shades(pixels, side) }
    }
}

/// Twice the size, interpolated: a character shows two points, its upper half the one and its lower half the other.
fn half_blocks(pixels: &[f32], side: usize) -> Vec<String> {
    let grey = |row: usize, col: usize| 232 + (23.0 * between(pixels, side, row, col)).round() as u32;
    let line = |row: usize| -> String {
        let points = (0..2 * side).map(|col| {
            let (upper, lower) = (grey(2 * row, col), grey(2 * row + 1, col));
            format!("\x1b[38;5;{upper};48;5;{lower}m▀")
        });
        points.chain(["\x1b[0m".to_owned()]).collect()
    };
    (0..side).map(line).collect()
}

/// The image at point [row, col] of a grid twice as fine, from the four pixels around.
fn between(pixels: &[f32], side: usize, row: usize, col: usize) -> f32 {
    let split = |at: usize| {
        let at = ((at as f32 - 0.5) / 2.0).clamp(0.0, side as f32 - 1.0);
        (at as usize, (at as usize + 1).min(side - 1), at.fract())
    };
    let ((top, bottom, down), (left, right, across)) = (split(row), split(col));
    let pixel = |row: usize, col: usize| pixels.get(row * side + col).copied().unwrap_or(0.0);
    let mix = |row: usize| pixel(row, left) * (1.0 - across) + pixel(row, right) * across;
    (mix(top) * (1.0 - down) + mix(bottom) * down).clamp(0.0, 1.0)
}

/// Two characters a pixel, from a blank to a full block.
fn shades(pixels: &[f32], side: usize) -> Vec<String> {
    let shade = |v: &f32| [' ', '░', '▒', '▓', '█'][(v.clamp(0.0, 1.0) * 4.0).round() as usize];
    pixels.chunks(side).map(|row| row.iter().flat_map(|v| [shade(v); 2]).collect()).collect()
}

/// One image of a gallery with the lines under it. All have the same number of lines.
pub(crate) struct Tile {
    pub(crate) image: Vec<String>,
    /// Each line, and how many columns it takes without its colours.
    pub(crate) caption: Vec<(String, usize)>,
}

/// Tiles of `width` columns side by side, `across` of them in a row.
pub(crate) fn gallery(tiles: &[Tile], width: usize, across: usize) -> String {
    let mut out = String::new();
    for row in tiles.chunks(across) {
        let (image_lines, caption_lines) = (row[0].image.len(), row[0].caption.len());
        for line in 0..image_lines {
            let parts: Vec<&str> = row.iter().map(|tile| tile.image[line].as_str()).collect();
            out += &format!("  {}\n", parts.join("   "));
        }
        for line in 0..caption_lines {
            for tile in row {
                let (text, taken) = &tile.caption[line];
                out += &format!("  {text}{}", " ".repeat((width + 1).saturating_sub(*taken)));
            }
            out.truncate(out.trim_end_matches(' ').len());
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

/// Counts of [truth, prediction] with the share of each class that was found.
pub(crate) fn confusion(ink: Ink, counts: &[Vec<u64>]) -> String {
    let heads: String = (0..counts.len()).map(|class| format!("{class:>5}")).collect();
    let mut out = format!("{}\n", ink.faint(&format!("           read as\n  truth{heads}   found")));
    for (truth, row) in counts.iter().enumerate() {
        let cells: String = (row.iter().enumerate())
            .map(|(predicted, &count)| match count {
                0 => ink.faint(&format!("{:>5}", "·")),
                _ if predicted == truth => ink.right(&format!("{count:>5}")),
                _ => ink.wrong(&format!("{count:>5}")),
            })
            .collect();
        let all: u64 = row.iter().sum();
        let found = 100.0 * row.get(truth).copied().unwrap_or(0) as f64 / all.max(1) as f64;
        out += &format!("{}{cells} {found:>6.1} %\n", ink.faint(&format!("{truth:>7}")));
    }
    out
}

/// A text between tags or quotes of a page.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_lines_of_two_characters_a_pixel() {
        let pixels: Vec<f32> = (0..64).map(|i| i as f32 / 63.0).collect();
        for colour in [false, true] {
            let lines = Ink { colour }.image(&pixels, 8);
            assert_eq!(lines.len(), 8);
            for line in lines {
                assert_eq!(anstream::adapter::strip_str(&line).to_string().chars().count(), 16);
            }
        }
    }

    #[test]
    fn long_lines_are_wrapped_between_words() {
        let text = vec!["word"; 40].join(" ");
        let lines: Vec<String> = wrapped(&text, "  ", 78).lines().map(str::to_owned).collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines[1].starts_with("  word") && lines.join("").replace("  ", " ").matches("word").count() == 40);
        assert_eq!(wrapped("a\nb", "  ", 78), "a\nb");
        assert_eq!(wrapped(&"x".repeat(100), "  ", 78), "x".repeat(100));
    }

    #[test]
    fn interpolation_keeps_a_flat_image_flat_and_stays_within_the_pixels() {
        assert!((0..16).all(|i| between(&[0.25; 64], 8, i, 15 - i) == 0.25));
        let image = [0.0, 1.0, 0.0, 1.0];
        assert_eq!([0, 1, 2, 3].map(|col| between(&image, 2, 0, col)), [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn a_plain_confusion_matrix_reads_as_a_table() {
        let text = confusion(Ink { colour: false }, &[vec![9, 1], vec![0, 4]]);
        assert_eq!(
            text,
            "           read as\n  truth    0    1   found\n      0    9    1   90.0 %\n      1    ·    4  100.0 %\n"
        );
    }
}
