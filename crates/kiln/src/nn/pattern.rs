//! Parts of a model named by patterns of paths.

use super::Module;
use crate::error::At;
use crate::{Error, Result};

/// Whether `pattern` is `path`: name by name, where `*` in a name stands for any letters and `**` for any names.
pub(super) fn names(pattern: &str, path: &str) -> bool {
    let split = |text| str::split(text, '.').collect::<Vec<&str>>();
    path_fits(&split(pattern), &split(path))
}

/// Whether `pattern` is `path` or a part of the model that `path` lies in.
fn holds(pattern: &str, path: &str) -> bool {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().any(|end| names(pattern, &path[..end]))
}

fn path_fits(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skip| path_fits(rest, &path[skip..])),
        ([first, rest @ ..], [name, names @ ..]) => name_fits(first, name) && path_fits(rest, names),
        _ => false,
    }
}

/// The parts between the stars occur one after another, the first at the start and the last at the end.
fn name_fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Freezes or unfreezes what `pattern` holds.
#[track_caller]
pub(super) fn set_trainable<M: Module + ?Sized>(module: &M, pattern: &str, on: bool) -> Result<usize> {
    let params = module.named_parameters();
    let chosen: Vec<_> = params.iter().filter(|(path, _)| holds(pattern, path)).collect();
    if chosen.is_empty() {
        return Err(nothing(if on { "unfreeze_matching" } else { "freeze_matching" }, pattern, "names no parameter"));
    }
    chosen.iter().for_each(|(_, param)| param.set_trainable(on));
    Ok(chosen.len())
}

#[track_caller]
pub(super) fn nothing(op: &'static str, pattern: &str, why: &'static str) -> Error {
    Error::Argument { op, name: "pattern", value: pattern.to_string(), why, at: At::here() }
}

#[cfg(test)]
mod tests {
    use super::{holds, names};

    #[test]
    fn stars_stand_for_letters_and_double_stars_for_names() {
        for (pattern, path, fits) in [
            ("fc", "fc", true),
            ("fc", "fc2", false),
            ("fc*", "fc2", true),
            ("fc", "head.fc", false),
            ("**.fc", "head.fc", true),
            ("**.fc", "fc", true),
            ("h.*.attn", "h.11.attn", true),
            ("h.*.attn", "h.11.mlp", false),
            ("h.*.attn", "h.1.2.attn", false),
            ("h.**.attn", "h.1.2.attn", true),
            ("h.**", "h", true),
            ("**", "a.b.c", true),
            ("layer*.conv?", "layer1.conv1", false),
            ("l*r*.c*1", "layer1.conv1", true),
            ("*a*a", "a", false),
            ("*a*a", "aa", true),
            ("a*a", "a", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(names(pattern, path), fits, "{pattern} and {path}");
        }
        assert!(holds("h.0", "h.0.attn.c_attn.weight") && !holds("h.0", "h.01.weight") && !holds("attn", "h.0.attn"));
        assert!(holds("**.bias", "h.0.bias") && holds("**", "w"));
    }
}
