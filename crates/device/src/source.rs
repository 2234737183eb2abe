//! A shader file, specialised: other values for its consts, other targets for its aliases, other bodies for its
//! slots, more fields in `Sizes`, more declarations. There is no other way to change a kernel.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, LazyLock};

use crate::error::{Error, Result};
use crate::items::{self, Item, Kind};

/// The name that the contract between host and kernel gives to the struct of run-time sizes.
const SIZES: &str = "Sizes";
/// The library's function for where a dispatch begins. A kernel that asks can be dispatched in parts.
const FIRST: &str = "first_group_";

/// A kernel's text and what is to be changed in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    name: Arc<str>,
    /// What it was called first.
    file: Arc<str>,
    text: Cow<'static, str>,
    edits: Vec<Edit>,
    trusted: bool,
    changing: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Edit {
    Const(String, String),
    Alias(String, String),
    Slot(String, String),
    Param(String, String),
    Declare(String),
}

/// A specialised text, ready for naga.
#[derive(Debug, Clone)]
pub(crate) struct Final {
    /// For people: with comments.
    pub(crate) text: String,
    /// For naga and for the kernel cache: the same without comments and superfluous space.
    pub(crate) code: String,
    /// The last field of `Sizes` is the number of a dispatch's first workgroup.
    pub(crate) divisible: bool,
}

static LIBRARY: LazyLock<HashMap<String, Item>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for item in [kiln_shaders::LIBRARY, kiln_shaders::SHARED].into_iter().flat_map(items::parse) {
        if !item.name.is_empty() {
            map.entry(item.name.clone()).or_insert(item);
        }
    }
    map
});

impl Source {
    /// One of our own kernel files. In release it is compiled without bounds checks, unless the device was opened
    /// with checks; for text that Kiln's tests do not cover use [`Source::user`].
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Cow<'static, str>>) -> Source {
        let file: Arc<str> = name.into();
        Source { name: file.clone(), file, text: text.into(), edits: Vec::new(), trusted: true, changing: false }
    }

    /// A user's own WGSL: always compiled with bounds checks, and with zeroed workgroup memory.
    pub fn user(name: impl Into<Arc<str>>, text: impl Into<Cow<'static, str>>) -> Source {
        Source { trusted: false, ..Source::new(name, text) }
    }

    /// Whether the file defines the alias `name`.
    pub fn has_alias(&self, name: &str) -> bool {
        let line = format!("\nalias {name} ");
        self.text.starts_with(&line[1..]) || self.text.contains(&line)
    }

    /// The kernel's name, for messages, labels and profiles.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives this text another name, such as that of the ops fused into it. [`Event::kernel`](crate::Event::kernel) keeps the
    /// first one.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Source {
        self.name = name.into();
        self
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(crate) fn file(&self) -> Arc<str> {
        self.file.clone()
    }

    pub(crate) fn trusted(&self) -> bool {
        self.trusted
    }

    /// `const NAME: T = value;`
    pub fn constant(self, name: &str, value: impl Display) -> Source {
        self.edit(Edit::Const(name.into(), value.to_string()))
    }

    /// `alias NAME = target;`
    pub fn alias(self, name: &str, target: &str) -> Source {
        self.edit(Edit::Alias(name.into(), target.into()))
    }

    /// Replaces the body of `fn NAME(..)`: what stands between its braces.
    pub fn slot(self, name: &str, body: impl Into<String>) -> Source {
        self.edit(Edit::Slot(name.into(), body.into()))
    }

    /// Appends a field of type u32, i32 or f32 to `struct Sizes`.
    pub fn param(self, name: &str, ty: &str) -> Source {
        self.edit(Edit::Param(name.into(), ty.into()))
    }

    /// Says that some parameters are other ones from run to run, as a learning rate is. They then travel as immediates, where
    /// the device has room for them. Those of other kernels lie in a uniform, which is written once.
    pub fn changing(self) -> Source {
        Source { changing: true, ..self }
    }

    /// Appends module-scope text: bindings, functions, constants.
    pub fn declare(self, text: impl Into<String>) -> Source {
        self.edit(Edit::Declare(text.into()))
    }

    fn edit(mut self, edit: Edit) -> Source {
        self.edits.push(edit);
        self
    }

    /// The specialised text. Storage bindings and functions that `main` does not reach are left out; what it
    /// mentions and does not define is appended from the library; `enable` directives are added where needed.
    ///
    /// # Errors
    /// [`Error::Kernel`] for a const, alias, slot or `Sizes` that the text does not have.
    pub fn finish(&self) -> Result<String> {
        Ok(self.assemble_with(u32::MAX)?.text)
    }

    /// As [`finish`](Self::finish), with `var<immediate>` turned into a uniform, but for kernels whose parameters change and
    /// fit into so many bytes.
    pub(crate) fn assemble(&self, max_immediates: u32) -> Result<Final> {
        self.assemble_with(if self.changing { max_immediates } else { 0 })
    }

    fn assemble_with(&self, max_immediates: u32) -> Result<Final> {
        let mut items = items::parse(&self.text);
        let mut changed = HashMap::new();
        for edit in &self.edits {
            self.apply(edit, &mut items, &mut changed)?;
        }
        let divisible = begin_anywhere(&mut items);
        place_sizes(&mut items, max_immediates);
        let items = reached(items, &changed);

        let mut text = String::new();
        for (word, directive) in [("f16", "enable f16;\n"), ("coop_mat", "enable wgpu_cooperative_matrix;\n")] {
            let used = items.iter().any(|item| {
                item.kind != Kind::Directive
                    && item.text.contains(word)
                    && item.mentions().any(|mention| mention.starts_with(word))
            });
            let there = items.iter().any(|item| item.kind == Kind::Directive && item.text == directive.trim_end());
            if used && !there {
                text.push_str(directive);
            }
        }
        for item in &items {
            text.push_str(&item.lead);
            text.push_str(&item.text);
        }
        text.push('\n');
        let code = items::compact(&text);
        Ok(Final { text, code, divisible })
    }

    fn apply(&self, edit: &Edit, items: &mut Vec<Item>, changed: &mut HashMap<String, Item>) -> Result<()> {
        let find =
            |items: &mut Vec<Item>, kind: Kind, name: &str| items.iter().position(|i| i.kind == kind && i.name == name);
        let missing = |what: &str, name: &str| {
            Err(Error::Kernel { name: self.name.to_string(), message: format!("the text has no {what} `{name}`") })
        };
        match edit {
            Edit::Const(name, value) | Edit::Alias(name, value) => {
                let (kind, what) =
                    if matches!(edit, Edit::Const(..)) { (Kind::Const, "const") } else { (Kind::Alias, "alias") };
                match find(items, kind, name).map(|at| &mut items[at]).or_else(|| borrowed(changed, kind, name)) {
                    Some(item) => item.set_value(value),
                    None => return missing(what, name),
                }
            }
            Edit::Slot(name, body) => {
                match find(items, Kind::Fn, name).map(|at| &mut items[at]).or_else(|| borrowed(changed, Kind::Fn, name))
                {
                    Some(item) => item.set_body(body),
                    None => return missing("slot", name),
                }
            }
            Edit::Param(name, ty) => match find(items, Kind::Struct, SIZES) {
                Some(at) => items[at].add_field(name, ty),
                None => return missing("struct", SIZES),
            },
            Edit::Declare(text) => {
                let mut more = items::parse(text);
                if let Some(first) = more.first_mut() {
                    first.lead.insert(0, '\n');
                }
                items.extend(more);
            }
        }
        Ok(())
    }
}

/// A declaration of the library of that kind, to be changed for this kernel alone.
fn borrowed<'a>(changed: &'a mut HashMap<String, Item>, kind: Kind, name: &str) -> Option<&'a mut Item> {
    let item = LIBRARY.get(name).filter(|item| item.kind == kind)?;
    Some(changed.entry(name.to_string()).or_insert_with(|| item.clone()))
}

/// Lets a dispatch begin with any workgroup, in a kernel that asks where it begins.
fn begin_anywhere(items: &mut Vec<Item>) -> bool {
    let asks = items.iter().any(|i| i.kind == Kind::Entry && i.mentions().any(|word| word == FIRST));
    let sizes = items.iter().find(|i| i.kind == Kind::Immediate).map(|i| i.name.clone());
    let fields = items.iter_mut().find(|i| i.kind == Kind::Struct && i.name == SIZES);
    let (true, Some(sizes), Some(fields)) = (asks, sizes, fields) else { return false };
    fields.add_field("first_group", "u32");
    items.extend(items::parse(&format!("\nfn {FIRST}() -> u32 {{ return {sizes}.first_group; }}")));
    true
}

/// Drops an empty `Sizes`; turns one that does not fit into immediates into a uniform, bound after the storage buffers.
fn place_sizes(items: &mut Vec<Item>, max_immediates: u32) {
    let Some(fields) = items.iter().find(|i| i.kind == Kind::Struct && i.name == SIZES).map(Item::fields) else {
        return;
    };
    if fields == 0 {
        items.retain(|i| !(i.kind == Kind::Immediate || (i.kind == Kind::Struct && i.name == SIZES)));
        return;
    }
    if 4 * fields <= max_immediates as usize {
        return;
    }
    let bound = items.iter().filter(|i| i.kind == Kind::Storage).filter_map(Item::binding).max();
    let binding = bound.map_or(0, |last| last + 1);
    for item in items.iter_mut().filter(|i| i.kind == Kind::Immediate) {
        item.text = format!("@group(0) @binding({binding}) var<uniform> {}: {SIZES};", item.name);
        item.kind = Kind::Var;
    }
}

/// What an entry point needs: every declaration but the functions and storage buffers that nothing reaches, and from
/// the library, as it was `changed`, whatever is mentioned and not defined.
fn reached(items: Vec<Item>, changed: &HashMap<String, Item>) -> Vec<Item> {
    let prunable = |kind: Kind| matches!(kind, Kind::Fn | Kind::Storage);
    let has_entry = items.iter().any(|i| i.kind == Kind::Entry);
    let own: HashMap<&str, &Item> = items.iter().map(|i| (i.name.as_str(), i)).collect();
    let mut seen: HashSet<&str> = HashSet::new();
    let mut borrowed: Vec<&Item> = Vec::new();
    let mut queue: Vec<&Item> = items.iter().filter(|i| !(has_entry && prunable(i.kind))).collect();
    while let Some(item) = queue.pop() {
        for word in item.mentions() {
            if seen.contains(word) {
                continue;
            }
            if let Some(item) = own.get(word) {
                seen.insert(word);
                queue.push(item);
            } else if let Some(item) = changed.get(word).or_else(|| LIBRARY.get(word)) {
                seen.insert(word);
                queue.push(item);
                borrowed.push(item);
            }
        }
    }
    borrowed.sort_by(|a, b| (a.kind == Kind::Fn, &a.name).cmp(&(b.kind == Kind::Fn, &b.name)));
    let borrowed: Vec<Item> =
        borrowed.into_iter().map(|item| Item { lead: "\n".to_string(), ..item.clone() }).collect();
    let keep: Vec<bool> =
        items.iter().map(|i| !(has_entry && prunable(i.kind)) || seen.contains(i.name.as_str())).collect();
    let mut keep = keep.into_iter();
    let mut items = items;
    items.retain(|_| keep.next().unwrap_or(true));
    items.extend(borrowed);
    items
}
