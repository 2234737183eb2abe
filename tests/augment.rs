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
        assert_eq!(size(got), size(&want), "{name}");
        for (i, (got, want)) in got.pixels().iter().zip(want.pixels()).enumerate() {
            assert!((got - want).abs() <= 1e-5, "{name}: element {i} is {got}, not {want}");
        }
    }
}

fn size(image: &Image) -> [usize; 3] {
    [image.channels(), image.height(), image.width()]
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
    for factor in ["-0.5", "-0.2", "0.0", "0.1", "0.5"] {
        reference.check(&format!("hue.{factor}"), &image.adjust_hue(factor.parse().unwrap()));
    }
    let normal = image.normalize(&[0.1, 0.2, 0.3], &[0.5, 0.25, 2.0]).unwrap();
    reference.check("normalize", &normal);
    let batch = augment::stack(&Device::open().unwrap(), &[image.clone(), image]).unwrap();
    assert_eq!(batch.shape().unwrap().to_vec(), [2, 3, 24, 32]);
    let normal_batch = augment::normalize(&batch, &[0.1, 0.2, 0.3], &[0.5, 0.25, 2.0]).to_vec::<f32>().unwrap();
    assert!(normal_batch[normal.pixels().len()..].iter().zip(normal.pixels()).all(|(a, b)| (a - b).abs() < 1e-5));
}

/// What is done to drawn images, one and a batch of two, against torchvision (scripts/drawn_augment.py). `KILN_DRAWN=file`
/// takes another draw.
#[test]
fn drawn_changes_are_torchvisions() {
    let device = Device::open().unwrap();
    let path = std::env::var("KILN_DRAWN")
        .unwrap_or_else(|_| format!("{}/../../tests/data/drawn_augment.txt", env!("CARGO_MANIFEST_DIR")));
    let text = std::fs::read_to_string(path).unwrap();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for line in text.lines() {
        let fields: Vec<&str> = line.split(';').collect();
        let list = |at: usize| fields[at].split(' ').map(|text| text.parse().unwrap()).collect::<Vec<f64>>();
        let (name, args) = fields[0].split_once(' ').unwrap_or((fields[0], ""));
        let a: Vec<f64> = args.split(' ').filter_map(|text| text.parse().ok()).collect();
        let (f, n) = (|at: usize| a[at] as f32, |at: usize| a[at] as usize);
        let sizes: Vec<usize> = list(1).iter().map(|&v| v as usize).collect();
        let bytes: Vec<u8> = list(2).iter().map(|&v| v as u8).collect();
        let image = Image::from_bytes(sizes[0], sizes[1], sizes[2], &bytes).unwrap();
        let batch = augment::stack(&device, &[image.clone(), image.clone()]).unwrap();
        let numbers = |from: usize| a[from..from + sizes[0]].iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let (got, batch) = match name {
            "hflip" => (image.hflip(), None),
            "vflip" => (image.vflip(), None),
            "pad" => (image.pad(n(0), f(1)).unwrap(), None),
            "crop" => (image.crop(a[0] as isize, a[1] as isize, n(2), n(3)).unwrap(), None),
            "center_crop" => (image.center_crop(n(0), n(1)).unwrap(), None),
            "rotate" => (image.rotate(a[0]), Some(augment::rotate(&batch, a[0]))),
            "resize" => (image.resize(n(0), n(1)).unwrap(), None),
            "resize_shorter" => (image.resize_shorter(n(0)).unwrap(), None),
            "brightness" => (image.adjust_brightness(f(0)), Some(augment::adjust_brightness(&batch, a[0]))),
            "contrast" => (image.adjust_contrast(f(0)), Some(augment::adjust_contrast(&batch, a[0]))),
            "saturation" => (image.adjust_saturation(f(0)), Some(augment::adjust_saturation(&batch, a[0]))),
            "hue" => (image.adjust_hue(f(0)), Some(augment::adjust_hue(&batch, a[0]))),
            "normalize" => {
                let (mean, std) = (numbers(0), numbers(sizes[0]));
                (image.normalize(&mean, &std).unwrap(), Some(augment::normalize(&batch, &mean, &std)))
            }
            "erase" => (image.erase(n(0), n(1), n(2), n(3), f(4)), None),
            other => panic!("{other}"),
        };
        let mut judge = |what: &str, got: &[f32], bound: f64| {
            let want = list(4);
            let far = got.iter().zip(&want).map(|(&g, w)| (f64::from(g) - w).abs()).fold(0.0, f64::max);
            if got.len() != want.len() || far > bound {
                wrong.push(format!("{what} {line}: {far}\n   {got:?}"));
            }
        };
        assert_eq!(size(&got)[..], list(3).iter().map(|&v| v as usize).collect::<Vec<_>>(), "{line}");
        judge("one", got.pixels(), 1e-5);
        if let Some(batch) = batch {
            let pixels = batch.to_vec::<f32>().unwrap();
            // a place of 8 pixels is a float32 there
            judge("batch", &pixels[pixels.len() / 2..], if name == "rotate" { 2e-5 } else { 1e-5 });
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} of {cases} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 200);
}

#[test]
fn where_pixels_go() {
    let image = counted(2, 3);
    assert_eq!(image.hflip().pixels(), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    assert_eq!(image.vflip().pixels(), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    assert!(matches!(image.pad(usize::MAX / 2, 0.0), Err(Error::Argument { .. })));
    assert_eq!(image.pad(1, 9.0).unwrap().pixels()[..8], [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 2.0]);
    assert_eq!(image.crop(1, -1, 2, 3).unwrap().pixels(), [0.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    assert_eq!(image.center_crop(1, 1).unwrap().pixels(), [2.0]); // (2 - 1) / 2 rounds to 0, as Python does
    assert_eq!(image.erase(0, 1, 9, 1, 7.0).pixels(), [1.0, 7.0, 3.0, 4.0, 7.0, 6.0]);
    // Counter-clockwise: the right column becomes the upper row.
    let turned = counted(2, 2).rotate(90.0).pixels().to_vec();
    assert!(turned.iter().zip([2.0, 4.0, 1.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{turned:?}");
    let shorter = counted(4, 6).resize_shorter(2).unwrap();
    assert_eq!(size(&shorter), [1, 2, 3]);
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
        let image = augment::color_jitter(image, 0.4, 0.4, 0.4, 0.1, draw);
        let image = augment::random_rotation(&image, 20.0, draw);
        let image = augment::random_erasing(image, 0.5, 0.02..0.33, 0.3..3.3, 0.0, draw);
        let image = augment::random_resized_crop(&image, 5, 6, 0.08..1.0, 0.75..4.0 / 3.0, draw).unwrap();
        augment::gaussian_noise(image, 0.1, draw)
    };
    let images: Vec<Image> = (0..40).map(change).collect();
    assert!(images.iter().all(|image| size(image) == [3, 5, 6]));
    assert_eq!(images, (0..40).map(change).collect::<Vec<_>>());
    // where no part fits, the middle of what ratios allow; of 7 columns 3 are left of it, as torchvision rounds
    let wide = counted(3, 11);
    let part = augment::random_resized_crop(&wide, 3, 4, 5.0..6.0, 0.75..4.0 / 3.0, &mut Draw::new(0, 0)).unwrap();
    assert_eq!(part, wide.crop(0, 3, 3, 4).unwrap());
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
        *places.entry(crop.pixels()[14] as usize).or_insert(0usize) += 1; // row 2, column 2: never padding
    }
    assert!(places.len() == 9 && places.values().all(|n| n.abs_diff(222) < 56), "{places:?}");
    let noise = augment::gaussian_noise(Image::new(1, 100, 100, vec![0.0; 10_000]).unwrap(), 2.0, &mut Draw::new(3, 0));
    let mean = noise.pixels().iter().sum::<f32>() / 1e4;
    let variance = noise.pixels().iter().map(|v| v * v).sum::<f32>() / 1e4;
    assert!(mean.abs() < 0.08 && (variance - 4.0).abs() < 0.23, "{mean}, {variance}"); // four deviations
    // Erased areas stay within their share.
    for i in 0..200 {
        let white = Image::new(1, 20, 20, vec![1.0; 400]).unwrap();
        let erased = augment::random_erasing(white, 1.0, 0.1..0.2, 0.5..2.0, 0.0, &mut Draw::new(4, i));
        let share = erased.pixels().iter().filter(|&&v| v == 0.0).count() as f64 / 400.0;
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

/// The operations on batches, each image with a factor of its own, against those on single images.
#[test]
fn batches_change_as_their_images_do() {
    let device = Device::open().unwrap();
    let image = Reference::load().image("image.jpeg");
    let grey = Image::new(3, 24, 32, vec![0.25; 3 * 24 * 32]).unwrap();
    let images = [image.clone(), image.hflip(), grey, image.vflip()];
    let x = augment::stack(&device, &images).unwrap();
    let factors = [0.0f32, 0.7, 1.8, -0.4];
    let each = Tensor::from_slice(&device, &factors, &[4, 1, 1, 1]);
    let check = |name: &str, got: Tensor, one: &dyn Fn(&Image, f32) -> Image| {
        let got = got.to_vec::<f32>().unwrap();
        let want: Vec<f32> =
            images.iter().zip(factors).flat_map(|(image, factor)| one(image, factor).pixels().to_vec()).collect();
        let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(got.len() == want.len() && far <= 1e-5, "{name}: {far}");
    };
    check("brightness", augment::adjust_brightness(&x, &each), &Image::adjust_brightness);
    check("contrast", augment::adjust_contrast(&x, &each), &Image::adjust_contrast);
    check("saturation", augment::adjust_saturation(&x, &each), &Image::adjust_saturation);
    check("hue", augment::adjust_hue(&x, &each), &Image::adjust_hue);
    check("one hue", augment::adjust_hue(&x, 0.3), &|image, _| image.adjust_hue(0.3));
    // whole degrees; a pixel's place is a float of 32 bits here, so edges of the picture are within 1e-5 of its middle
    let degrees = Tensor::from_slice(&device, &factors.map(|f| 50.0 * f), &[4, 1, 1, 1]);
    let turned = augment::rotate(&x, &degrees).to_vec::<f32>().unwrap();
    let want: Vec<f32> =
        images.iter().zip(factors).flat_map(|(i, f)| i.rotate(f64::from(50.0 * f)).pixels().to_vec()).collect();
    let far = turned.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far <= 2e-5, "rotate: {far}"); // a place of 32 pixels in 24 bits, times the greatest slope
    assert_eq!(augment::adjust_hue(&x.narrow(1, 0, 1), 0.3).to_vec::<f32>().unwrap().len(), 4 * 24 * 32);
    assert!(augment::rotate(&x.narrow(0, 0, 1).reshape([3, 24, 32]), 5.0).to_vec::<f32>().is_err());

    // a shift moves a whole image, by as much as it may
    let one = Tensor::from_vec(&device, (0..200).flat_map(|_| (1..=9).map(|v| v as f32)).collect(), &[200, 1, 3, 3]);
    let shifted = augment::random_shift(&one, 1, &Rng::new(&device, 3)).to_vec::<f32>().unwrap();
    let mut places = std::collections::BTreeMap::new();
    let plain = counted(3, 3);
    for got in shifted.chunks(9) {
        let place = (-1..=1).flat_map(|top| (-1..=1).map(move |left| (top, left)));
        let found =
            place.filter(|&(top, left)| plain.crop(top, left, 3, 3).unwrap().pixels() == got).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{got:?}");
        *places.entry(found[0]).or_insert(0usize) += 1;
    }
    // 22 of 200 expected each, four deviations are 18
    assert!(places.len() == 9 && places.values().all(|count| count.abs_diff(22) < 18), "{places:?}");
    let flipped = augment::random_vertical_flip(&one, 0.5, &Rng::new(&device, 4)).to_vec::<f32>().unwrap();
    let count = flipped.chunks(9).filter(|got| got[0] == 7.0).count();
    assert!(flipped.chunks(9).all(|got| got[0] == 1.0 || got[..3] == [7.0, 8.0, 9.0]) && count.abs_diff(100) < 29);
    let rng = Rng::new(&device, 5);
    let colours = augment::random_colors(&x, 0.4, 0.4, 0.4, 0.1, &rng).to_vec::<f32>().unwrap();
    assert!(colours.iter().all(|v| (0.0..=1.0).contains(v)) && colours != x.to_vec::<f32>().unwrap());
    let still = augment::random_colors(&x, 0.0, 0.0, 0.0, 0.0, &rng);
    assert_eq!(augment::random_rotate(&still, 0.0, &rng).to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
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
        image.resize(1 << 20, 1 << 20).unwrap_err(),
        image.resize_shorter(usize::MAX).unwrap_err(),
        image.crop(0, 0, 1 << 30, 1 << 10).unwrap_err(),
        image.center_crop(1 << 40, 1 << 40).unwrap_err(),
        image.pad(1 << 30, 0.0).unwrap_err(),
        image.normalize(&[0.0; 3], &[1.0; 3]).unwrap_err(),
        image.normalize(&[0.0], &[0.0]).unwrap_err(),
        augment::random_crop(&image, 7, 4, 1, &mut Draw::new(0, 0)).unwrap_err(),
        augment::random_crop(&image, 4, 4, usize::MAX, &mut Draw::new(0, 0)).unwrap_err(),
        augment::stack(&Device::open().unwrap(), &[image.clone(), counted(3, 4)]).unwrap_err(),
        augment::stack(&Device::open().unwrap(), &[]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Argument { .. }) && error.to_string().contains("tests/augment.rs"), "{error}");
    }
    // far out there is nothing
    let far = augment::random_crop(&image, 4, 4, usize::MAX / 2 - 4, &mut Draw::new(0, 0)).unwrap();
    assert!(far.pixels().iter().all(|&pixel| pixel == 0.0));
}
