//! Changes to images against PyTorch's operations in the way torchvision uses them (scripts/reference_data.py), and what
//! random ones may do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::augment::{self, Draw, Image};
use kiln::prelude::*;
use std::path::Path;

struct Reference(nn::StateDict);

impl Reference {
    fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/data.safetensors");
        Self(store::load_tensors(&Device::open().unwrap(), path).unwrap().0)
    }

    fn image(&self, name: &str) -> Image {
        let tensor = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        let shape = tensor.shape().unwrap().to_vec();
        Image::new(shape[0], shape[1], shape[2], tensor.to_vec().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(&self, name: &str, got: &Image) {
        let want = self.image(name);
        assert_eq!((got.channels, got.height, got.width), (want.channels, want.height, want.width), "{name}");
        for (i, (got, want)) in got.pixels.iter().zip(&want.pixels).enumerate() {
            assert!((got - want).abs() <= 1e-5, "{name}: element {i} is {got}, not {want}");
        }
    }
}

fn counted(height: usize, width: usize) -> Image {
    Image::new(1, height, width, (1..=height * width).map(|v| v as f32).collect()).unwrap()
}

#[test]
fn what_is_not_random_does_as_torchvision_does() {
    let reference = Reference::load();
    let image = reference.image("image.jpeg");
    for (height, width) in [(24, 32), (12, 16), (7, 9), (30, 50), (5, 64)] {
        reference.check(&format!("resize.{height}x{width}"), &image.resize(height, width).unwrap());
    }
    for degrees in ["0", "30", "90", "-45.5", "180"] {
        reference.check(&format!("rotate.{degrees}"), &image.rotate(degrees.parse().unwrap()));
    }
    for factor in ["0.0", "0.5", "1.0", "1.7"] {
        let f = factor.parse().unwrap();
        reference.check(&format!("brightness.{factor}"), &image.adjust_brightness(f));
        reference.check(&format!("contrast.{factor}"), &image.adjust_contrast(f));
        reference.check(&format!("saturation.{factor}"), &image.adjust_saturation(f));
    }
    let normal = image.normalize(&[0.1, 0.2, 0.3], &[0.5, 0.25, 2.0]).unwrap();
    reference.check("normalize", &normal);
    let batch = augment::stack(&Device::open().unwrap(), &[image.clone(), image]).unwrap();
    assert_eq!(batch.shape().unwrap().to_vec(), [2, 3, 24, 32]);
    let normal_batch = augment::normalize(&batch, &[0.1, 0.2, 0.3], &[0.5, 0.25, 2.0]).to_vec::<f32>().unwrap();
    assert!(normal_batch[normal.pixels.len()..].iter().zip(&normal.pixels).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn where_pixels_go() {
    let image = counted(2, 3);
    assert_eq!(image.hflip().pixels, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(image.vflip().pixels, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    assert_eq!(image.pad(1, 9.0).pixels[..8], [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 2.0]);
    assert_eq!(image.crop(1, -1, 2, 3).unwrap().pixels, [0.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    assert_eq!(image.center_crop(1, 1).unwrap().pixels, [2.0]); // (2 - 1) / 2 rounds to 0, as Python does
    assert_eq!(image.erase(0, 1, 9, 1, 7.0).pixels, [1.0, 7.0, 3.0, 4.0, 7.0, 6.0]);
    // Counter-clockwise: the right column becomes the upper row.
    let turned = counted(2, 2).rotate(90.0).pixels;
    assert!(turned.iter().zip([2.0, 4.0, 1.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{turned:?}");
    let shorter = counted(4, 6).resize_shorter(2).unwrap();
    assert_eq!((shorter.height, shorter.width), (2, 3));
    assert_eq!(image.adjust_saturation(0.3), image);
}

#[test]
fn random_changes_follow_their_draw() {
    let image = Image::from_bytes(3, 8, 9, &(0..216).map(|v| v as u8).collect::<Vec<_>>()).unwrap();
    let change = |place| {
        let draw = &mut Draw::new(3, place);
        let image = augment::random_crop(&image, 8, 8, 2, draw).unwrap();
        let image = augment::random_hflip(image, 0.5, draw);
        let image = augment::random_vflip(image, 0.5, draw);
        let image = augment::color_jitter(image, 0.4, 0.4, 0.4, draw);
        let image = augment::random_rotation(&image, 20.0, draw);
        let image = augment::random_erasing(image, 0.5, 0.02..0.33, 0.3..3.3, 0.0, draw);
        let image = augment::random_resized_crop(&image, 5, 6, 0.08..1.0, 0.75..4.0 / 3.0, draw).unwrap();
        augment::gaussian_noise(image, 0.1, draw)
    };
    let images: Vec<Image> = (0..40).map(change).collect();
    assert!(images.iter().all(|image| (image.channels, image.height, image.width) == (3, 5, 6)));
    assert_eq!(images, (0..40).map(change).collect::<Vec<_>>());
    assert!(images.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn random_changes_happen_as_often_as_asked() {
    let image = counted(6, 6);
    let often =
        |change: &dyn Fn(&mut Draw) -> Image| (0..2000).filter(|&i| change(&mut Draw::new(1, i)) != image).count();
    // 500 and 1000 of 2000 expected; four deviations are 77 and 89
    assert!(often(&|draw| augment::random_hflip(image.clone(), 0.25, draw)).abs_diff(500) < 77);
    assert!(often(&|draw| augment::random_vflip(image.clone(), 0.5, draw)).abs_diff(1000) < 89);
    assert_eq!(often(&|draw| augment::random_hflip(image.clone(), 0.0, draw)), 0);
    assert_eq!(often(&|draw| augment::random_hflip(image.clone(), 1.0, draw)), 2000);
    // A crop with padding comes to each of the 3×3 places about equally often: 222 of 2000, four deviations are 56.
    let mut places = std::collections::BTreeMap::new();
    for i in 0..2000 {
        let crop = augment::random_crop(&image, 6, 6, 1, &mut Draw::new(2, i)).unwrap();
        *places.entry(crop.pixels[14] as usize).or_insert(0usize) += 1; // row 2, column 2: never padding
    }
    assert!(places.len() == 9 && places.values().all(|n| n.abs_diff(222) < 56), "{places:?}");
    let noise = augment::gaussian_noise(Image::new(1, 100, 100, vec![0.0; 10_000]).unwrap(), 2.0, &mut Draw::new(3, 0));
    let mean = noise.pixels.iter().sum::<f32>() / 1e4;
    let variance = noise.pixels.iter().map(|v| v * v).sum::<f32>() / 1e4;
    assert!(mean.abs() < 0.08 && (variance - 4.0).abs() < 0.23, "{mean}, {variance}"); // four deviations
    // Erased areas stay within their share.
    for i in 0..200 {
        let white = Image::new(1, 20, 20, vec![1.0; 400]).unwrap();
        let erased = augment::random_erasing(white, 1.0, 0.1..0.2, 0.5..2.0, 0.0, &mut Draw::new(4, i));
        let share = erased.pixels.iter().filter(|&&v| v == 0.0).count() as f64 / 400.0;
        assert!((0.07..0.24).contains(&share), "{share}"); // whole pixels
    }
}

#[test]
fn batches_on_the_device_change_image_by_image() {
    let device = Device::open().unwrap();
    let x = Tensor::from_vec(&device, (0..64 * 4).map(|v| v as f32).collect(), &[64, 1, 2, 2]);
    let flipped = augment::random_horizontal_flip(&x, 0.5, &Rng::new(&device, 1)).to_vec::<f32>().unwrap();
    let count = flipped.chunks(4).enumerate().filter(|(i, image)| {
        let v = 4.0 * *i as f32;
        let (plain, mirrored) = ([v, v + 1.0, v + 2.0, v + 3.0], [v + 1.0, v, v + 3.0, v + 2.0]);
        assert!(**image == plain || **image == mirrored);
        **image == mirrored
    });
    assert!((16..48).contains(&count.count()));
    let noisy = augment::add_noise(&x, 0.5, &Rng::new(&device, 2));
    let apart = (&noisy - &x).to_vec::<f32>().unwrap();
    let variance = apart.iter().map(|v| v * v).sum::<f32>() / 256.0;
    assert!((variance - 0.25).abs() < 0.09, "{variance}");
    let wrong = augment::normalize(&x, &[0.0, 0.0], &[1.0]).to_vec::<f32>();
    assert!(matches!(wrong, Err(Error::Argument { .. })), "{wrong:?}");
}

#[test]
fn images_that_cannot_be_are_errors() {
    let image = counted(4, 4);
    for error in [
        Image::new(1, 2, 2, vec![0.0; 3]).unwrap_err(),
        Image::new(0, 2, 2, vec![]).unwrap_err(),
        Image::new(usize::MAX, 2, 2, vec![0.0]).unwrap_err(),
        image.resize(0, 3).unwrap_err(),
        image.crop(0, 0, 3, 0).unwrap_err(),
        image.normalize(&[0.0; 3], &[1.0; 3]).unwrap_err(),
        image.normalize(&[0.0], &[0.0]).unwrap_err(),
        augment::random_crop(&image, 7, 4, 1, &mut Draw::new(0, 0)).unwrap_err(),
        augment::stack(&Device::open().unwrap(), &[image.clone(), counted(3, 4)]).unwrap_err(),
        augment::stack(&Device::open().unwrap(), &[]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Argument { .. }) && error.to_string().contains("tests/augment.rs"), "{error}");
    }
}
