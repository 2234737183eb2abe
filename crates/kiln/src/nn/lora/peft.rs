//! Adapters as Hugging Face's PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Lora, LoraOptions, PREFIX, places};
use crate::error::At;
use crate::init::Init;
use crate::nn::{Module, StateDict};
use crate::{Error, Result, store};

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// Settings that make something else of the adapters.
const OTHERS: &[&str] = &[
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

impl Lora {
    /// Freezes `model` and puts the adapters of a folder of PEFT's beside its layers, with its rank, `lora_alpha`, `use_rslora` and
    /// `lora_dropout`. A layer may have a longer path there: `transformer.h.0.attn.c_attn` of a GPT-2 with a head is `h.0.attn.c_attn` of
    /// [`Gpt2`](crate::nn::Gpt2). They are in evaluation mode, as PEFT's are; `model.train()` changes that.
    ///
    /// # Errors
    /// [`Error::File`] if the folder holds adapters of another kind (another `peft_type`, DoRA, trained biases or whole modules, ranks that
    /// differ) or of layers that the model does not have; otherwise as [`Lora::load`]. The model is unchanged then.
    #[track_caller]
    pub fn load_peft<M: Module + ?Sized>(model: &M, folder: impl AsRef<Path>, init: &mut Init) -> Result<Self> {
        let folder = folder.as_ref();
        let options = options(&folder.join(CONFIG))?;
        let path = folder.join(TENSORS);
        let (theirs, _) = store::load_tensors(init.device(), &path)?;
        let bad = |why: String| Error::File { path: path.clone(), why };
        let places: Vec<String> = places(model).into_iter().map(|(path, ..)| path).collect();
        let (mut ours, mut paths, mut base) = (StateDict::new(), Vec::new(), None);
        for (name, tensor) in theirs {
            let split = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(".lora_"));
            let Some((long, part)) = split else { return Err(bad(format!("{name} is no part of an adapter"))) };
            let before = |place: &str| match long.strip_suffix(place) {
                Some("") => Some(""),
                Some(base) => base.strip_suffix('.'),
                None => None,
            };
            let fits = places.iter().filter_map(|place| Some((place, before(place)?)));
            let Some((place, above)) = fits.max_by_key(|(place, _)| place.len()) else {
                return Err(bad(format!("{long}: the model has no such layer that takes an adapter")));
            };
            if base.get_or_insert_with(|| above.to_string()) != above {
                return Err(bad(format!("{long}: not below the same path as the others")));
            }
            ours.insert(format!("{PREFIX}{place}.lora_{part}"), tensor);
            if !paths.contains(&place.as_str()) {
                paths.push(place);
            }
        }
        if paths.is_empty() {
            return Err(bad("it holds no adapters".to_string()));
        }
        let lora = Self::attach(model, &paths, options, init)?;
        match lora.load_state_dict(&ours) {
            Ok(()) => {
                lora.eval();
                Ok(lora)
            }
            Err(error) => {
                lora.detach();
                Err(error.of_file(&path))
            }
        }
    }

    /// Writes the adapters for PEFT, which `PeftModel.from_pretrained(model, folder)` reads. `base` is the path of this model in
    /// PEFT's: `"transformer"` for a GPT-2 with a head, `""` where paths are the same.
    ///
    /// # Errors
    /// As for [`store::save`]; [`Error::Argument`] if an adapter's alpha is no number that JSON has.
    #[track_caller]
    pub fn save_peft(&self, folder: impl AsRef<Path>, base: &str) -> Result<()> {
        let folder = folder.as_ref();
        let long = |path: &str| if base.is_empty() { path.to_string() } else { format!("{base}.{path}") };
        let LoraOptions { rank, alpha, dropout } = self.options;
        if !(alpha.is_finite() && dropout.is_finite()) {
            let (name, value, why) = ("alpha", alpha.to_string(), "a finite number");
            return Err(Error::Argument { op: "lora", name, value, why, at: At::here() });
        }
        let config = json!({
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": alpha,
            "lora_dropout": dropout,
            "target_modules": self.layers.iter().map(|layer| long(&layer.path)).collect::<Vec<_>>(),
            "fan_in_fan_out": self.layers.iter().all(|layer| layer.place.transposed),
            "bias": "none",
            "inference_mode": true,
        });
        let mut tensors = StateDict::new();
        for (name, tensor) in self.state_dict() {
            let own = name.strip_prefix(PREFIX).unwrap_or(&name);
            tensors.insert(format!("{PREFIX}{}", long(own)), tensor);
        }
        let failed = |why: std::io::Error| Error::File { path: folder.to_owned(), why: why.to_string() };
        fs::create_dir_all(folder).map_err(failed)?;
        store::save_tensors(&tensors, &[("format".to_string(), "pt".to_string())].into(), folder.join(TENSORS))?;
        store::write_atomically(folder.join(CONFIG), &[format!("{config:#}\n").as_bytes()])
    }
}

/// What PEFT's settings mean here.
fn options(path: &Path) -> Result<LoraOptions> {
    let bad = |why: String| Error::File { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|why| bad(why.to_string()))?;
    let config: Value = serde_json::from_str(&text).map_err(|why| bad(why.to_string()))?;
    // absent, null, false, empty
    let is_set = |name: &str| match &config[name] {
        Value::Bool(set) => *set,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null => false,
        _ => true,
    };
    if config["peft_type"] != "LORA" {
        return Err(bad(format!("peft_type is {}, and not \"LORA\"", config["peft_type"])));
    }
    if let Some(name) = OTHERS.iter().find(|name| is_set(name)) {
        return Err(bad(format!("{name} is {}, which is not known here", config[*name])));
    }
    if is_set("bias") && config["bias"] != "none" {
        return Err(bad(format!("bias is {}, and not \"none\"", config["bias"])));
    }
    let number =
        |name: &str| config[name].as_f64().ok_or_else(|| bad(format!("{name} is {}, no number", config[name])));
    let rank = config["r"].as_u64().filter(|rank| *rank > 0 && *rank <= u64::from(u32::MAX));
    let rank = rank.ok_or_else(|| bad(format!("r is {}, and not 1 or more", config["r"])))? as usize;
    let alpha = number("lora_alpha")?;
    // rank-stabilised: alpha / √rank
    let alpha = if is_set("use_rslora") { alpha * (rank as f64).sqrt() } else { alpha };
    let dropout = if config["lora_dropout"].is_null() { 0.0 } else { number("lora_dropout")? as f32 };
    Ok(LoraOptions { rank, alpha, dropout })
}
