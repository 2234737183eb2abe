//! Text as numbers: characters, byte pairs, and the windows that language models learn from.

mod bpe;
mod chars;
mod windows;

pub use bpe::{Bpe, pieces};
pub use chars::Chars;
pub use windows::Windows;
