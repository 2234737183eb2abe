//! Text as numbers: characters, byte pairs, and the windows that language models learn from.

mod bpe;
mod chars;
mod gpt2;
mod json;
mod marks;
mod windows;

pub use bpe::{Bpe, pieces};
pub use chars::Chars;
pub use gpt2::Gpt2Bpe;
pub use windows::Windows;
