//! Random words, uniforms, normals and Bernoullis: the same as on the host, at both widths, and well distributed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use kiln_device::Device;
use kiln_device::kernels::random::{self, Draw};
use kiln_device::philox::{Stream, philox, uniform};
use support::{close, device, empty, floats, run, words};

fn draw(device: &Device, draw: Draw, stream: Stream, n: usize, width: u32) -> kiln_device::Buffer {
    let out = empty(device, n);
    run(device, &random::launch(device.caps(), draw, stream, n as u32, width).unwrap(), &[("out", &out)]).unwrap();
    out
}

/// Known answers of Random123, kat_vectors, philox4x32-10.
#[test]
fn known_answers() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
    assert_eq!(pi, [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn the_same_bits_as_on_the_host_at_both_widths() {
    let device = device();
    for stream in [Stream::default(), Stream::new(0x1234_5678_9abc_def0, 0xfedc_ba98_7654_3210)] {
        for n in [1, 3, 4, 129, 5000] {
            let want: Vec<u32> = stream.word_iter(n).collect();
            for width in [1, 4] {
                assert_eq!(words(&device, &draw(&device, Draw::Words, stream, n, width)), want);
                let bits: Vec<u32> = want.iter().map(|&w| uniform(w).to_bits()).collect();
                assert_eq!(words(&device, &draw(&device, Draw::Uniform, stream, n, width)), bits);
                let coins: Vec<f32> = want.iter().map(|&w| f32::from(uniform(w) < 0.3)).collect();
                assert_eq!(floats(&device, &draw(&device, Draw::Bernoulli(0.3), stream, n, width)), coins);
            }
        }
    }
}

#[test]
fn normals_agree_with_the_host() {
    let device = device();
    let stream = Stream::new(7, 3);
    let want: Vec<f64> = stream.normals(200_000).into_iter().map(f64::from).collect();
    for width in [1, 4] {
        close("normals", &floats(&device, &draw(&device, Draw::Normal, stream, want.len(), width)), &want, 1e-6);
    }
}

#[test]
fn the_numbers_are_well_distributed() {
    let n = 1 << 20;
    let (u, z) = (Stream::new(1, 0).uniforms(n), Stream::new(1, 1).normals(n));
    let moments = |x: &[f32]| {
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
        (mean, x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / x.len() as f64)
    };
    // Five standard errors.
    let ((mean, variance), sd) = (moments(&u), (1.0 / 12.0 / n as f64).sqrt());
    assert!((mean - 0.5).abs() < 5.0 * sd && (variance - 1.0 / 12.0).abs() < 5.0 * sd, "{mean} {variance}");
    let ((mean, variance), sd) = (moments(&z), (1.0 / n as f64).sqrt());
    assert!(mean.abs() < 5.0 * sd && (variance - 1.0).abs() < 5.0 * 2f64.sqrt() * sd, "{mean} {variance}");
    assert!(u.iter().all(|v| (0.0..1.0).contains(v)) && z.iter().all(|v| v.abs() < 5.8));
}
