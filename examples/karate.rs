//! Who goes with whom when a karate club splits: a graph convolutional network is told two of 34 members.
//!
//!     cargo run --release --example karate
//!
//! Friendships and factions: W. Zachary 1977, "An information flow model for conflict and fission in small groups",
//! Journal of Anthropological Research 33. Network: Kipf & Welling 2017, "Semi-supervised classification with graph
//! convolutional networks", appendix A.

use kiln::prelude::*;

/// The share of first weights from which 30 or more of the other 32 members are put where they went.
pub(crate) const BAR: f64 = 0.95;

pub(crate) const MEMBERS: usize = 34;

/// For each member, from 0, the friends with a higher number.
const FRIENDS: &str = "\
    1 2 3 4 5 6 7 8 10 11 12 13 17 19 21 31; 2 3 7 13 17 19 21 30; 3 7 8 9 13 27 28 32; 7 12 13; 6 10; 6 10 16; \
    16; ; 30 32 33; 33; ; ; ; 33; 32 33; 32 33; ; ; 32 33; 33; 32 33; ; 32 33; 25 27 29 32 33; 25 27 31; 31; \
    29 33; 33; 31 33; 32 33; 32 33; 32 33; 33;";

/// Who stayed with the teacher (member 0); the others went with the president (member 33).
const TEACHERS: [usize; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21];

#[derive(Module)]
pub(crate) struct Gcn {
    conv1: nn::GcnConv,
    conv2: nn::GcnConv,
}

impl Gcn {
    pub(crate) fn new(init: &mut Init) -> Self {
        Self { conv1: nn::GcnConv::new(MEMBERS, 16, init), conv2: nn::GcnConv::new(16, 2, init) }
    }

    /// `x` [members, features], `edges` [2, count] → logits [members, 2].
    pub(crate) fn forward(&self, x: &Tensor, edges: &Tensor) -> Tensor {
        self.conv2.run(&self.conv1.run(x, edges, None).tanh(), edges, None)
    }
}

/// The friendships, both ways: [2, count].
pub(crate) fn edges(device: &Device) -> Tensor {
    let friends = |list: &'static str| list.split_whitespace().filter_map(|friend| friend.parse::<i32>().ok());
    let pairs = || FRIENDS.split(';').zip(0..).flat_map(|(list, a)| friends(list).map(move |b| (a, b)));
    let ends: Vec<i32> = pairs().chain(pairs().map(|(a, b)| (b, a))).flat_map(|(a, b)| [a, b]).collect();
    Tensor::from_slice(device, &ends, &[ends.len() / 2, 2]).t()
}

/// The members from above to below, each on its side of the middle and in the colour of where it went; friends joined.
fn picture(sides: &[f32], edges: &[i32]) -> String {
    let scale = 240.0 / sides.iter().fold(f32::MIN_POSITIVE, |most, side| most.max(side.abs()));
    let place = |member: usize| [256.0 + scale * sides[member], 20.0 + 14.3 * member as f32];
    let mut svg = String::from("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 512 512\" width=\"768\">\n");
    svg += "<rect width=\"512\" height=\"512\" fill=\"#fff\"/><g stroke=\"#bbb\"><path d=\"M256 0V512\"/>\n";
    for (a, b) in edges.iter().zip(&edges[edges.len() / 2..]) {
        let ([x, y], [u, v]) = (place(*a as usize), place(*b as usize));
        svg += &format!("<path d=\"M{x:.1} {y:.1}L{u:.1} {v:.1}\"/>\n");
    }
    svg += "</g><g font-family=\"sans-serif\" font-size=\"9\" text-anchor=\"middle\" fill=\"#fff\">\n";
    for member in 0..MEMBERS {
        let ([x, y], stayed) = (place(member), TEACHERS.contains(&member));
        let colour = if stayed { "#1f6fb4" } else { "#c8452d" };
        svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" fill=\"{colour}\"/>");
        svg += &format!("<text x=\"{x:.1}\" y=\"{:.1}\">{member}</text>\n", y + 3.0);
    }
    svg + "</g></svg>\n"
}

/// Trains from many seeds and gives the share that puts 30 or more of 32 right; karate.svg shows the last one.
pub(crate) fn run(device: &Device, seed: u64, quick: bool) -> Result<f64> {
    let edges = edges(device);
    let (x, told) = (Tensor::eye(device, MEMBERS), Tensor::new(device, [0, 33]));
    let seeds = if quick { 2 } else { 100 };
    let (mut good, mut sides) = (0, Vec::new());
    for seed in (0..seeds).map(|i| seed * 1000 + i) {
        let model = Gcn::new(&mut Init::new(device, seed));
        let mut adam = Adam::new(&model, 1e-2).weight_decay(5e-3);
        for _ in 0..60 {
            let logits = model.forward(&x, &edges).index_select(0, &told);
            adam.step(&cross_entropy(&logits, &Tensor::new(device, [0, 1])))?;
        }
        sides = model.forward(&x, &edges).to_vec::<f32>()?.chunks(2).map(|logits| logits[1] - logits[0]).collect();
        let right = (1..33).filter(|&member| (sides[member] > 0.0) != TEACHERS.contains(&member)).count();
        good += u64::from(right >= 30);
        print!("{right} ");
    }
    println!("of 32 right: 30 or more from {good} of {seeds} seeds");
    if !quick {
        let drawn = std::fs::write("karate.svg", picture(&sides, &edges.to_vec::<i32>()?));
        println!("karate.svg: {}", drawn.map_or_else(|why| why.to_string(), |()| "drawn".into()));
    }
    Ok(good as f64 / seeds as f64)
}

fn main() -> Result<()> {
    let share = run(&Device::open()?, 0, false)?;
    assert!(share >= BAR, "{share} is less than {BAR}");
    Ok(())
}
