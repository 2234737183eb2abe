//! Every kernel that the case table makes, generated code included, is translated for Vulkan, Metal and DX12.
//!
//! The rows run in a child process that writes each kernel's final text (`KILN_KERNELS`); the texts are then parsed,
//! validated and translated here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod cases;
#[path = "support/program.rs"]
mod program;

use cases::{FAMILIES, Table};
use kiln::prelude::*;
use kiln_translate::translate;
use program::this_program;
use std::path::Path;

/// Runs every row, forward and backward, and nothing else: the child's part.
#[test]
fn rows_that_write_their_kernels() {
    if std::env::var("KILN_KERNELS").is_err() {
        return;
    }
    let device = Device::open().unwrap();
    for (_, fill) in FAMILIES {
        let mut table = Table::default();
        fill(&mut table);
        for case in &table.0 {
            let inputs: Vec<Tensor> =
                case.inputs.iter().enumerate().map(|(n, i)| i.tensor(&device, &case.name, n)).collect();
            for out in (case.run)(&inputs) {
                let floats: Vec<&Tensor> = inputs.iter().filter(|t| t.dtype().is_float()).collect();
                if out.dtype().is_float()
                    && let Ok(gradients) = out.sum().grad(&floats)
                {
                    let _ = Tensor::eval_all(&gradients);
                }
                let _ = out.eval();
            }
        }
    }
}

fn texts(dir: &Path) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn every_generated_kernel_translates() {
    if std::env::var("KILN_KERNELS").is_ok() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("kiln-kernels-{}", std::process::id()));
    let status = this_program()
        .args(["--exact", "rows_that_write_their_kernels", "-q"])
        .env("KILN_KERNELS", &dir)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let texts = texts(&dir);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(texts.len() > 300, "only {} kernels were written", texts.len());
    let failures: Vec<String> =
        texts.iter().filter_map(|(name, text)| translate(text).err().map(|e| format!("{name}: {e}"))).collect();
    println!("{} kernels", texts.len());
    assert!(failures.is_empty(), "{} of {} fail\n{}", failures.len(), texts.len(), failures.join("\n"));
}
