//! Pictures: PNG and JPEG files, and folders of them with a class for each subfolder.

use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use png::{ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{malformed, read_file, unreadable};
use crate::data::augment::Image;
use crate::error::Place;
use crate::{Error, Result};

/// Channels of the images that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colours {
    /// Three channels; grey is repeated.
    #[default]
    Rgb,
    /// One channel: 0.299 R + 0.587 G + 0.114 B, as in ITU-R 601.
    Grey,
}

/// Reads a PNG or JPEG file. Alpha is dropped, 16 bits become 8. A rotation noted in the file's metadata is not applied.
///
/// # Errors
/// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is neither, is damaged or ends early, or claims more
/// pixels than its size can hold.
pub fn read(path: impl AsRef<Path>, colours: Colours) -> Result<Image> {
    parse(&read_file(path.as_ref())?, path, colours)
}

/// The image in the bytes of a file; errors call it `name`.
///
/// # Errors
/// As for [`read`], from its content.
pub fn parse(bytes: &[u8], name: impl AsRef<Path>, colours: Colours) -> Result<Image> {
    let path = name.as_ref();
    let decode: fn(&[u8]) -> Result<Picture, String> = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png,
        [0xff, 0xd8, ..] => jpeg,
        _ => return Err(malformed(path, Place::Byte(0), "a PNG or JPEG file", "other bytes")),
    };
    // Decoders of others: a panic in one is a damaged file, not the end of the program.
    let picture =
        catch_unwind(AssertUnwindSafe(|| decode(bytes))).unwrap_or_else(|_| Err("the decoder gave up".into()));
    let picture = picture.map_err(|why| malformed(path, Place::Whole, "a whole image", why))?;
    picture.image(colours)
}

/// Bytes of pixels, channel by channel within a pixel.
struct Picture {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// Refuses what the file cannot hold. Deflate makes at most 1,032 bytes of one; in a JPEG, a block of 64 pixels takes at
/// least a bit. So an honest file is never refused, and a small one cannot ask for much memory.
fn plausible(height: usize, width: usize, channels: usize, file: usize) -> Result<usize, String> {
    let size = height.checked_mul(width).and_then(|n| n.checked_mul(channels));
    match size {
        Some(size) if size > 0 && size / 1100 <= file => Ok(size),
        _ => Err(format!("{height}×{width} pixels in {file} bytes")),
    }
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: 64 << 20 });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (height, width) = (reader.info().height as usize, reader.info().width as usize);
    let channels = reader.output_color_type().0.samples();
    plausible(height, width, channels, bytes.len())?;
    let size = reader.output_buffer_size().ok_or("more than can be counted")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(|error| error.to_string())?;
    if frame.color_type == ColorType::Indexed {
        return Err("a palette that was not resolved".into());
    }
    // To the end of the file, so that a cut one is seen and the last checksum counts.
    reader.finish().map_err(|error| error.to_string())?;
    Ok(Picture { height, width, channels, pixels })
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    // Without strictness, the missing part of a cut file is grey.
    let options = DecoderOptions::new_safe().set_strict_mode(true).set_max_width(1 << 16).set_max_height(1 << 16);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("no size")?;
    let colours = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    let channels = colours.num_components();
    let size = plausible(height, width, channels, bytes.len())?;
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let pixels = decoder.decode().map_err(|error| error.to_string())?;
    if pixels.len() != size {
        return Err(format!("{} bytes of pixels", pixels.len()));
    }
    Ok(Picture { height, width, channels, pixels })
}

impl Picture {
    /// Planes of numbers from 0 to 1.
    fn image(&self, colours: Colours) -> Result<Image> {
        let each = |of: &dyn Fn(&[u8]) -> f32| self.pixels.chunks_exact(self.channels).map(of).collect::<Vec<f32>>();
        let channel = |c: usize| each(&|pixel| f32::from(pixel[c]) / 255.0);
        let colour = self.channels >= 3; // two channels are grey and alpha
        let pixels = match (colours, colour) {
            (Colours::Grey, true) => {
                // Whole numbers and rounding as in PIL's convert("L").
                let grey =
                    |p: &[u8]| u32::from(p[0]) * 19595 + u32::from(p[1]) * 38470 + u32::from(p[2]) * 7471 + 0x8000;
                each(&|pixel| (grey(pixel) >> 16) as f32 / 255.0)
            }
            (Colours::Grey, false) => channel(0),
            (Colours::Rgb, true) => [channel(0), channel(1), channel(2)].concat(),
            (Colours::Rgb, false) => channel(0).repeat(3),
        };
        let channels = if colours == Colours::Rgb { 3 } else { 1 };
        Image::new(channels, self.height, self.width, pixels)
    }
}

/// A folder with a subfolder for each class, as torchvision's `ImageFolder`: classes and files in the order of their
/// names, `.png`, `.jpg` and `.jpeg` in any case, in subfolders of the classes too. Files are read when asked for.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// Each file and the number of its class.
    pub files: Vec<(PathBuf, i32)>,
    /// Channels of the images.
    pub colours: Colours,
}

impl ImageFolder {
    /// Looks for images.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be read, has no subfolders, or one of them has no image.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let mut found = Self { classes: Vec::new(), files: Vec::new(), colours: Colours::Rgb };
        for (class, (path, _)) in sorted(folder)?.into_iter().filter(|(_, is_folder)| *is_folder).enumerate() {
            let before = found.files.len();
            collect(&path, class as i32, &mut found.files, 0)?;
            if found.files.len() == before {
                return Err(unreadable(&path, "no .png, .jpg or .jpeg file in the folder of a class"));
            }
            found.classes.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        if found.classes.is_empty() {
            return Err(unreadable(folder, "no subfolders, one for each class"));
        }
        Ok(found)
    }

    /// Sets the channels of the images.
    #[must_use]
    pub fn colours(mut self, colours: Colours) -> Self {
        self.colours = colours;
        self
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True without images.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads image `index` and its class.
    ///
    /// # Errors
    /// As for [`read`]; [`Error::Argument`] past the end.
    #[track_caller]
    pub fn get(&self, index: usize) -> Result<(Image, i32)> {
        let Some((path, class)) = self.files.get(index) else {
            return Err(Error::Argument {
                op: "ImageFolder::get",
                name: "index",
                value: index.to_string(),
                why: "the number of an image that is there",
                at: crate::error::At::here(),
            });
        };
        Ok((read(path, self.colours)?, *class))
    }
}

/// What is in a folder, by name, and whether it is a folder itself.
fn sorted(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let bad = |error: std::io::Error| unreadable(folder, error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(bad)? {
        let path = entry.map_err(bad)?.path();
        let is_folder = path.is_dir(); // a link to one too
        all.push((path, is_folder));
    }
    all.sort();
    Ok(all)
}

fn collect(folder: &Path, class: i32, files: &mut Vec<(PathBuf, i32)>, depth: usize) -> Result<()> {
    if depth > 16 {
        return Err(unreadable(folder, "folders more than 16 deep"));
    }
    for (path, is_folder) in sorted(folder)? {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        if is_folder {
            collect(&path, class, files, depth + 1)?;
        } else if ["png", "jpg", "jpeg"].iter().any(|known| ending == *known) {
            files.push((path, class));
        }
    }
    Ok(())
}
