//! Saving and loading: what PyTorch writes is read, what is written PyTorch reads, files are hostile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::PathBuf;

use kiln::nn::StateDict;
use kiln::prelude::*;
use kiln::store::Metadata;

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kiln-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file with one tensor of the given type, shape and bytes.
fn file(dtype: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{\"t\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[0,{}]}}}}", bytes.len());
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()
}

#[test]
fn a_model_comes_back_and_predicts_the_same() {
    let device = Device::open().unwrap();
    let dir = Scratch::new("model");
    let build = |seed| {
        let mut init = Init::new(&device, seed);
        Sequential::new()
            .push(Conv2d::new(1, 4, 3, &mut init))
            .push(BatchNorm2d::new(4, &mut init))
            .push(Flatten::default())
            .push(Linear::new(144, 3, &mut init))
    };
    let (model, other) = (build(1), build(2));
    let x = Rng::new(&device, 1).normal([5, 1, 8, 8]);
    model.forward(&x).eval().unwrap(); // moves the running statistics
    let path = dir.file("model.safetensors");
    store::save(&model, &path).unwrap();
    store::load(&other, &path).unwrap();
    model.eval();
    other.eval();
    assert_eq!(model.forward(&x).to_vec::<f32>().unwrap(), other.forward(&x).to_vec::<f32>().unwrap());

    let again = dir.file("again.safetensors");
    store::save(&other, &again).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap(), "the same tensors are the same bytes");
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn every_type_and_odd_names_make_the_round_trip() {
    let device = Device::open().unwrap();
    let dir = Scratch::new("types");
    let tensors: StateDict = [
        ("f32", Tensor::new(&device, [1.5f32, f32::INFINITY, -0.0])),
        ("i32", Tensor::new(&device, [[i32::MIN], [i32::MAX]])),
        ("u32", Tensor::new(&device, [u32::MAX])),
        ("bool", Tensor::new(&device, [true, false])),
        ("scalar", Tensor::new(&device, 7.0f32)),
        ("empty", Tensor::zeros(&device, [0, 3])),
        ("a \"name\"\\ with\n umläut\u{1}", Tensor::new(&device, [1.0f32])),
    ]
    .into_iter()
    .map(|(name, tensor)| (name.to_string(), tensor))
    .collect();
    let metadata: Metadata =
        [("note", "a \"quote\""), ("z", ""), ("format", "pt")].map(|(k, v)| (k.into(), v.into())).into();
    let path = dir.file("all.safetensors");
    store::save_tensors(&tensors, &metadata, &path).unwrap();
    let (read, meta) = store::load_tensors(&device, &path).unwrap();
    assert_eq!(meta, metadata);
    assert_eq!(read.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &tensors {
        let got = &read[name];
        assert_eq!((got.dtype(), got.shape().unwrap()), (tensor.dtype(), tensor.shape().unwrap()), "{name}");
        assert_eq!(got.to_vec::<f64>().unwrap(), tensor.to_vec::<f64>().unwrap(), "{name}");
    }
}

#[test]
fn other_types_are_converted_or_refused() {
    let device = Device::open().unwrap();
    let dir = Scratch::new("convert");
    let path = dir.file("t.safetensors");
    let read = |dtype: &str, bytes: &[u8]| {
        let n = bytes.len()
            / match dtype {
                "F64" | "I64" | "U64" => 8,
                "F16" | "BF16" | "I16" | "U16" => 2,
                _ => 1,
            };
        fs::write(&path, file(dtype, &format!("[{n}]"), bytes)).unwrap();
        store::load_tensors(&device, &path).and_then(|(t, _)| t["t"].to_vec::<f64>())
    };
    let bytes8 = |v: &[f64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(read("F64", &bytes8(&[0.5, -2.0, f64::INFINITY])).unwrap(), [0.5, -2.0, f64::INFINITY]);
    assert!(read("F64", &bytes8(&[1e300])).is_err());
    assert_eq!(read("I64", &(-5i64).to_le_bytes()).unwrap(), [-5.0]);
    assert!(read("I64", &(1i64 << 31).to_le_bytes()).is_err());
    assert!(read("U64", &u64::MAX.to_le_bytes()).is_err());
    assert_eq!(read("F16", &[0x00, 0x3c, 0x00, 0xc0]).unwrap(), [1.0, -2.0]);
    assert_eq!(read("BF16", &[0x80, 0x3f]).unwrap(), [1.0]);
    assert_eq!(read("I16", &(-7i16).to_le_bytes()).unwrap(), [-7.0]);
    assert_eq!(read("U8", &[255]).unwrap(), [255.0]);
    assert_eq!(read("I8", &[255]).unwrap(), [-1.0]);
    assert_eq!(read("BOOL", &[2, 0]).unwrap(), [1.0, 0.0]);
    let error = read("F8_E4M3", &[0]).unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if path.ends_with("t.safetensors")), "{error}");
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let device = Device::open().unwrap();
    let dir = Scratch::new("hostile");
    let path = dir.file("bad.safetensors");
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    let before = model.weight.to_vec::<f32>().unwrap();
    let refuse = |what: &str, bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        // a module without parameters looks at the file too
        for error in [store::load(&model, &path).unwrap_err(), store::load(&Relu, &path).unwrap_err()] {
            assert!(matches!(error, Error::File { .. } | Error::State(_)), "{what}: {error}");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{what}: {error}");
        }
    };
    let good = file("F32", "[2]", &[0; 8]);
    for cut in 0..good.len() {
        refuse("truncated", &good[..cut]);
    }
    refuse("trailing bytes", &[good.as_slice(), &[0]].concat());
    refuse("a header longer than the file", &u64::MAX.to_le_bytes());
    refuse("a header of almost 2⁶³", &(i64::MAX as u64).to_le_bytes());
    refuse("no JSON", &[&4u64.to_le_bytes(), b"{{{{".as_slice()].concat());
    refuse("no UTF-8", &[&2u64.to_le_bytes(), [0xff, 0xfe].as_slice()].concat());
    refuse("a shape that overflows", &file("F32", "[9223372036854775807,4,4]", &[0; 8]));
    refuse("a shape that overflows beside zero", &file("F32", "[9223372036854775807,9223372036854775807,0]", &[]));
    refuse("too many axes", &file("F32", "[1,1,1,1,1,1,1,1,1,1,2]", &[0; 8]));
    refuse("a negative extent", &file("F32", "[-2]", &[0; 8]));
    refuse("a shape that does not fit", &file("F32", "[3]", &[0; 8]));
    refuse("an unknown type", &file("F1024", "[2]", &[0; 8]));

    // Any byte of a good file may be wrong: an error or other numbers, never a panic.
    let mut state = 12345u32;
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..1 + state % 3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = (state >> 16) as u8;
        }
        fs::write(&path, &bytes).unwrap();
        let _ = store::load_tensors(&device, &path);
    }

    for path in [dir.file("absent"), dir.0.clone()] {
        assert!(matches!(store::load(&model, &path), Err(Error::File { .. })));
        assert!(matches!(store::load(&Relu, &path), Err(Error::File { .. })));
        assert!(matches!(store::load_matching(&Relu, &path), Err(Error::File { .. })));
    }
    assert_eq!(model.weight.to_vec::<f32>().unwrap(), before);
}

#[test]
fn a_module_without_parameters_expects_nothing() {
    let dir = Scratch::new("nothing");
    let path = dir.file("t.safetensors");
    fs::write(&path, file("F32", "[2]", &[0; 8])).unwrap();
    let error = store::load(&Relu, &path).unwrap_err();
    assert!(matches!(&error, Error::State(report) if report.unexpected == ["t"]), "{error}");
    let report = store::load_matching(&Relu, &path).unwrap();
    assert_eq!((report.unexpected, report.file), (vec!["t".to_string()], Some(path.clone())));
    store::save(&Relu, &path).unwrap();
    store::load(&Relu, &path).unwrap();
    assert!(store::load_matching(&Relu, &path).unwrap().unexpected.is_empty());
}

#[test]
fn writing_is_all_or_nothing() {
    let device = Device::open().unwrap();
    let dir = Scratch::new("atomic");
    let path = dir.file("model.safetensors");
    let model = Linear::new(2, 2, &mut Init::new(&device, 0));
    store::save(&model, &path).unwrap();
    let before = fs::read(&path).unwrap();

    // A tensor that cannot be evaluated leaves the old file.
    let bad = [("t".to_string(), Tensor::zeros(&device, [2]).matmul(&Tensor::zeros(&device, [3])))].into();
    assert!(store::save_tensors(&bad, &Metadata::new(), &path).is_err());
    assert_eq!(fs::read(&path).unwrap(), before);

    // So does a name that is a directory, and a directory that is not there.
    fs::create_dir(dir.file("taken")).unwrap();
    assert!(matches!(store::save(&model, dir.file("taken")), Err(Error::File { .. })));
    assert!(matches!(store::save(&model, dir.file("absent/model")), Err(Error::File { .. })));
    assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 2, "no temporary file is left");
}
