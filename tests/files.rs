//! Readers against files of other programs' making (scripts/reference_data.py), and against what others would read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use kiln::data::files::cifar::{self, Classes};
use kiln::data::files::csv::{Csv, Missing};
use kiln::data::files::edges::EdgeFile;
use kiln::data::files::{Numbers, idx, medmnist, npy, npz, text, wav};
use kiln::data::{Column, TensorDataset};
use kiln::nn::StateDict;
use kiln::prelude::*;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}

fn file(name: &str) -> PathBuf {
    root().join("files").join(name)
}

fn device() -> Device {
    Device::open().unwrap()
}

struct Reference(StateDict);

impl Reference {
    fn load() -> Self {
        Self(store::load_tensors(&device(), root().join("data.safetensors")).unwrap().0)
    }

    #[track_caller]
    fn check(&self, name: &str, got: &[f32], tolerance: f32) {
        let want = self.0.get(name).unwrap_or_else(|| panic!("no {name}")).to_vec::<f32>().unwrap();
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((got - want).abs() <= tolerance, "{name}: element {i} is {got}, not {want}");
        }
    }
}

#[test]
fn every_type_of_numpy_in_both_byte_orders_and_both_orders_of_axes() {
    let (reference, arrays) = (Reference::load(), npz::read(file("all.npz")).unwrap());
    assert_eq!(arrays.len(), 48);
    for (name, array) in &arrays {
        assert_eq!(array.shape, [2, 3, 2], "{name}");
        reference.check(&format!("npy.{}", &name[..2]), &array.to_f32(), 0.0);
        let kept = match &name[..2] {
            "b1" => matches!(array.numbers, Numbers::Bool(_)),
            "u1" => matches!(array.numbers, Numbers::U8(_)),
            "u4" => matches!(array.numbers, Numbers::U32(_)),
            code if code.starts_with('f') => matches!(array.numbers, Numbers::F32(_)),
            _ => matches!(array.numbers, Numbers::I32(_)),
        };
        assert!(kept, "{name}");
        assert_eq!(array.tensor(&device()).shape().unwrap().to_vec(), [2, 3, 2]);
    }
    let packed = npz::read(file("packed.npz")).unwrap();
    assert_eq!(
        (&packed["a"].shape[..], &packed["b"].shape[..], &packed["c"].shape[..]),
        (&[100, 10][..], &[][..], &[0, 3][..])
    );
    assert_eq!((packed["b"].to_f32(), packed["c"].numbers.is_empty()), (vec![2.5], true));
    for version in ["v2.npy", "v3.npy"] {
        assert_eq!(npy::read(file(version)).unwrap().to_i32().unwrap(), [0, 1, 2, 3, 4]);
    }
}

/// Integers of 32 unsigned bits are labels, exactly, wherever they can be.
#[test]
fn unsigned_integers_are_labels_while_they_fit() {
    let header = "{'descr': '<u4', 'fortran_order': False, 'shape': (3,), }";
    let array = |numbers: [u32; 3]| {
        let numbers = numbers.map(u32::to_le_bytes);
        let bytes =
            [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), numbers.as_flattened()];
        npy::parse(&bytes.concat(), "u4.npy").unwrap()
    };
    let small = array([0, (1 << 24) + 1, i32::MAX as u32]);
    assert!(matches!(small.clone().into_column(), Column::I32(v, _) if v[..] == [0, (1 << 24) + 1, i32::MAX]));
    let large = array([0, (1 << 24) + 1, 1 << 31]);
    assert_eq!((small.to_i32().map(|v| v.len()), large.to_i32()), (Some(3), None));
    assert!(matches!(large.into_column(), Column::F32(v, _) if v[..] == [0.0, 16777216.0, 2147483648.0]));
}

/// No numbers, whatever the other extents are: they cannot be multiplied.
#[test]
fn an_empty_array_may_claim_any_extents() {
    let header = |fortran, shape| format!("{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    for (fortran, shape) in
        [("True", "(1099511627776, 1099511627776, 0)"), ("False", "(0, 1099511627776, 1099511627776)")]
    {
        let header = header(fortran, shape);
        let bytes = [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        let array = npy::parse(&bytes, "empty.npy").unwrap();
        assert!(array.numbers.is_empty() && array.shape.contains(&0), "{:?}", array.shape);
        let _ = array.tensor(&device()).to_vec::<i32>(); // an empty one or an error
        let set = TensorDataset::new(&device(), array.into_column(), (Vec::<i32>::new(), []));
        assert!(matches!(set, Err(Error::Argument { name: "inputs", .. })), "{set:?}");
    }
}

#[test]
fn rows_of_an_array_are_read_in_parts() {
    let whole = npy::read(file("rows.npy")).unwrap();
    let mut parts = npy::NpyFile::open(file("rows.npy")).unwrap();
    assert_eq!(parts.shape(), [20, 3]);
    for range in [0..20, 0..1, 19..20, 7..12, 4..4, 20..20] {
        let part = parts.rows(range.clone()).unwrap();
        assert_eq!((part.shape, part.numbers.len()), (vec![range.len(), 3], range.len() * 3));
        assert_eq!(parts.rows(range.clone()).unwrap().to_f32(), whole.to_f32()[3 * range.start..3 * range.end]);
    }
    assert!(matches!(parts.rows(3..21), Err(Error::Argument { .. })));
}

#[test]
fn mnist_plain_and_compressed() {
    let (device, reference) = (device(), Reference::load());
    let (train, test) = idx::mnist(root().join("files"), &device).unwrap();
    assert_eq!((train.len(), test.len(), test.labels()), (7, 3, vec![9, 0, 3]));
    assert_eq!(train.inputs().shape().unwrap().to_vec(), [7, 1, 5, 4]);
    reference.check("idx.train", &(train.inputs() * 255.0).to_vec::<f32>().unwrap(), 1e-4);
    assert!(matches!(idx::mnist(root(), &device), Err(Error::File { .. })));
}

#[test]
fn medmnist_has_channels_first() {
    let (device, reference) = (device(), Reference::load());
    let parts = medmnist::read(file("medmnist.npz"), &device).unwrap();
    assert_eq!((parts.train.len(), parts.val.len(), parts.test.len()), (6, 2, 3));
    assert_eq!(parts.test.inputs().shape().unwrap().to_vec(), [3, 3, 4, 5]);
    reference.check("medmnist.test", &parts.test.inputs().to_vec::<f32>().unwrap(), 1e-7);
    reference.check("medmnist.labels", &parts.test.targets().to_vec::<f32>().unwrap(), 0.0);
}

#[test]
fn cifar_records() {
    let record = |labels: &[u8], fill: u8| [labels, &[fill; 3072]].concat();
    let ten = cifar::parse(&[record(&[3], 7), record(&[9], 8)].concat(), "ten.bin", Classes::Ten).unwrap();
    assert_eq!((ten.labels, ten.coarse, ten.pixels.len()), (vec![3, 9], vec![], 2 * 3072));
    assert_eq!((ten.pixels[0], ten.pixels[3072]), (7, 8));
    let hundred = cifar::parse(&record(&[19, 99], 1), "hundred.bin", Classes::Hundred).unwrap();
    assert_eq!((hundred.labels, hundred.coarse), (vec![99], vec![19]));
    let folder = std::env::temp_dir().join(format!("kiln-cifar-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"] {
        std::fs::write(folder.join(format!("{name}.bin")), record(&[name.len() as u8 - 10], 255)).unwrap();
    }
    let (train, test) = cifar::cifar10(&folder, &device()).unwrap();
    assert_eq!((train.labels(), test.labels()), (vec![2; 5], vec![0]));
    let (x, _) = test.all();
    assert_eq!((x.shape().unwrap().to_vec(), x.min().item().unwrap()), (vec![1, 3, 32, 32], 1.0));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn tables_as_python_writes_them() {
    let csv = |missing| Csv::new().missing(missing).read(file("table.csv")).unwrap();
    let table = csv(Missing::Refuse);
    assert_eq!((table.len(), table.width()), (4, 4));
    assert_eq!(table.names(), ["length", "note, quoted", "kind", "weight"]);
    assert_eq!((table.field(0, 1), table.field(1, 1), table.field(3, 1)), ("says \"hi\", twice", "two\nlines", "ünï"));
    assert_eq!((table.field(4, 0), table.field(0, 4), table.field(usize::MAX, 1)), ("", "", ""));
    assert_eq!(table.numbers(&["length"]).unwrap(), [1.5, -0.002, 7.0, 1000.0]);
    assert_eq!(table.numbers(&[0]).unwrap(), table.numbers(&["length"]).unwrap());
    let (classes, names) = table.classes("kind").unwrap();
    assert_eq!((classes, names.clone()), (vec![1, 2, 1, 0], vec!["ape".into(), "cat".into(), "dog".into()]));
    assert_eq!(table.classes_of(2, &names).unwrap(), [1, 2, 1, 0]);
    // The third line of the file is within a quoted field: the record of the missing weight begins on line 3.
    let error = table.numbers(&["weight"]).unwrap_err().to_string();
    assert!(
        error.ends_with("table.csv:3: expected a number in column \"weight\", found \"\", a missing value"),
        "{error}"
    );
    assert_eq!(csv(Missing::Value(0.5)).numbers(&["weight"]).unwrap(), [3.0, 0.5, 0.5, -4.0]);
    assert_eq!(csv(Missing::Mean).numbers(&["length", "weight"]).unwrap()[3], -0.5);
    assert!(csv(Missing::Nan).numbers(&["weight"]).unwrap()[1].is_nan());
    let whole = Csv::new().parse(b"id,n\n16777217,1\n-2147483648,2.5\n", "ids.csv").unwrap();
    assert_eq!(whole.labels("id").unwrap(), [16777217, i32::MIN]);
    let error = whole.labels("n").unwrap_err().to_string();
    assert_eq!(error, "ids.csv:3: expected an integer of 32 bits in column \"n\", found \"2.5\"");
    let known = table.without_missing(&["weight"]).unwrap();
    assert_eq!((known.len(), known.numbers(&["weight"]).unwrap()), (2, vec![3.0, -4.0]));
    let set = known.classification(&device(), &["length", "weight"], "kind").unwrap();
    assert_eq!((set.len(), set.labels()), (2, vec![1, 0]));
    let set: TensorDataset = known.regression(&device(), &["length"], &["weight"]).unwrap();
    assert_eq!(set.targets().to_vec::<f32>().unwrap(), [3.0, -4.0]);
    let records: Vec<_> = Csv::new().open(file("table.csv")).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(records.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 5, 6]);
    let tabs = Csv::new().delimiter(b'\t').header(false).parse(b"\xef\xbb\xbf1\t2\r\n\r\n3\t\"4\t\"\n", "t").unwrap();
    assert_eq!((tabs.len(), tabs.field(0, 0), tabs.field(1, 1)), (2, "1", "4\t"));
}

#[test]
fn edges_with_numbers_and_names() {
    let list = EdgeFile::new().parse(b"# karate\n0 1\n\n2\t0\n1,2\n", "e").unwrap();
    assert_eq!((list.nodes, list.edges.clone(), list.weights.clone()), (3, vec![[0, 1], [2, 0], [1, 2]], None));
    assert_eq!(list.graph(vec![0.0; 6]).unwrap().degree(), [1, 1, 1]);
    let named = EdgeFile::new().named(true).header(true);
    let list = named.parse(b"from,to,weight\nanna, ben b,0.5\nben b,carl,2\ncarl,anna,-1e1\n", "e").unwrap();
    assert_eq!(
        (list.names, list.edges),
        (vec!["anna".into(), "ben b".into(), "carl".into()], vec![[0, 1], [1, 2], [2, 0]])
    );
    assert_eq!(list.weights, Some(vec![0.5, 2.0, -10.0]));
}

#[test]
fn sound_of_every_width() {
    let reference = Reference::load();
    for (bits, channels) in [(8, 2), (16, 1), (24, 2), (32, 1)] {
        let name = format!("pcm{bits}.wav");
        let sound = wav::read(file(&name)).unwrap();
        assert_eq!((sound.rate, sound.channels, sound.frames()), (8000, channels, 40));
        reference.check(&format!("wav.{name}"), &sound.samples, 1e-7);
        assert_eq!(sound.tensor(&device()).shape().unwrap().to_vec(), [channels, 40]);
        let mono = sound.mono();
        assert_eq!((mono.channels, mono.frames()), (1, 40));
        let mean = sound.samples[..channels].iter().sum::<f32>() / channels as f32;
        assert_eq!(mono.samples[0], mean);
    }
    // Floats, with a chunk of odd size in front.
    let mut floats = b"RIFF\0\0\0\0WAVEjunk\x03\0\0\0abc\0fmt \x10\0\0\0\x03\0\x01\0".to_vec();
    floats.extend([8000u32.to_le_bytes(), 32000u32.to_le_bytes()].concat());
    floats.extend(b"\x04\0\x20\0data\x08\0\0\0");
    floats.extend([0.25f32.to_le_bytes(), (-3.5f32).to_le_bytes()].concat());
    assert_eq!(wav::parse(&floats, "f.wav").unwrap().samples, [0.25, -3.5]);
}

#[test]
fn texts_and_lines() {
    assert_eq!(text::parse(b"\xef\xbb\xbfa\nb".to_vec(), "t").unwrap(), "a\nb");
    let lines: Vec<String> = text::lines(file("bpe.txt")).unwrap().collect::<Result<_>>().unwrap();
    assert_eq!(lines, text::read(file("bpe.txt")).unwrap().lines().collect::<Vec<_>>());
}

/// As torchvision does.
#[cfg(all(feature = "images", unix))]
#[test]
fn folders_of_images_may_be_links() {
    use kiln::data::files::images::ImageFolder;
    let linked = std::env::temp_dir().join(format!("kiln-files-links-{}", std::process::id()));
    std::fs::create_dir_all(&linked).unwrap();
    for class in ["a_first", "b_second"] {
        std::os::unix::fs::symlink(file("folder").join(class), linked.join(class)).unwrap();
    }
    let found = ImageFolder::open(&linked);
    std::fs::remove_dir_all(&linked).unwrap();
    assert_eq!(found.unwrap().len(), 3);
}

#[cfg(feature = "images")]
#[test]
fn images_as_pillow_sees_them() {
    use kiln::data::files::images::{Colours, ImageFolder, read};
    let reference = Reference::load();
    let folder = ImageFolder::open(file("folder")).unwrap();
    assert_eq!((folder.classes.clone(), folder.len()), (vec!["a_first".into(), "b_second".into()], 3));
    let classes: Vec<i32> = (0..3).map(|i| folder.get(i).unwrap().1).collect();
    assert_eq!(classes, [0, 0, 1]);
    assert!(matches!(folder.get(3), Err(Error::Argument { .. })));
    for index in [0, 1] {
        let (image, _) = folder.get(index).unwrap();
        assert_eq!((image.channels(), image.height(), image.width()), (3, 6, 7));
        reference.check("image.rgb", image.pixels(), 1e-7);
    }
    let grey = |name: &str| read(file(name), Colours::Grey).unwrap();
    reference.check("image.grey", grey("folder/a_first/2.png").pixels(), 1e-7);
    assert_eq!(grey("grey.png"), grey("deep.png"));
    assert_eq!(read(file("grey.png"), Colours::Rgb).unwrap().pixels()[..42], *grey("grey.png").pixels());
    reference.check("image.palette", read(file("palette.png"), Colours::Rgb).unwrap().pixels(), 1e-7);
    // Decoders of JPEG may differ by the rounding of the cosine transform and of colours: 3 of 255.
    reference.check("image.jpeg", folder.get(2).unwrap().0.pixels(), 3.1 / 255.0);
    reference.check("image.progressive", read(file("progressive.jpg"), Colours::Rgb).unwrap().pixels(), 3.1 / 255.0);
    reference.check("image.greyjpeg", grey("grey.jpg").pixels(), 1.1 / 255.0);
}
