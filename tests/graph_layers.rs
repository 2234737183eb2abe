//! Graph layers against their papers' formulas in float64 PyTorch, scatter_reduce against PyTorch's, and graphs on
//! the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod sequence;
mod support;

use kiln::ScatterReduce;
use kiln::data::{Graph, GraphBatch};
use kiln::nn::{
    Aggregation, GatConv, GatOptions, Gatv2Conv, GcnConv, GinConv, GraphConv, Messages, SageConv, global_add_pool,
    global_max_pool, global_mean_pool,
};
use kiln::prelude::*;
use sequence::{Case, Reference};
use support::{below, close};

#[derive(Module)]
struct Nothing;

fn check<M: Module>(case: &Case, layer: &M, run: impl Fn(&M, &Tensor, Option<&Tensor>) -> Tensor) {
    case.start(layer);
    let (x, w) = (case.get("x"), case.find("w"));
    let y = run(layer, &x, w.as_ref());
    let inputs: Vec<(&str, &Tensor)> = [("x", &x)].into_iter().chain(w.iter().map(|w| ("w", w))).collect();
    case.check(layer, &inputs, &[("y", &y)]);
}

#[test]
fn convolutions_agree_with_their_formulas() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let edges = reference.case("graph").get("edges");
    let init = &mut Init::new(&device, 0);
    let case = |name: &str| reference.case(&format!("graph.{name}"));

    let gcn = |init: &mut Init| GcnConv { bias: None, ..GcnConv::new(3, 4, init) };
    for (name, layer) in [
        ("gcn", GcnConv::new(3, 4, init)),
        ("gcn_weights", GcnConv::new(3, 4, init)),
        ("gcn_improved", GcnConv { loop_weight: 2.0, ..gcn(init) }),
        ("gcn_bare", GcnConv { add_self_loops: false, ..gcn(init) }),
        ("gcn_sum", GcnConv { normalize: false, ..gcn(init) }),
    ] {
        check(&case(name), &layer, |layer, x, w| layer.run(x, &edges, w));
    }
    for (name, layer) in [
        ("sage", SageConv::new(3, 4, init)),
        ("sage_max", SageConv { aggregation: Aggregation::Max, normalize: true, ..SageConv::new(3, 4, init) }),
        ("sage_rootless", SageConv { aggregation: Aggregation::Sum, lin_r: None, ..SageConv::new(3, 4, init) }),
    ] {
        check(&case(name), &layer, |layer, x, _| layer.run(x, &edges));
    }
    check(&case("plain"), &GraphConv::new(3, 4, init), |layer, x, w| layer.run(x, &edges, w));
    let largest = GraphConv { aggregation: Aggregation::Max, ..GraphConv::new(3, 4, init) };
    check(&case("plain_max"), &largest, |layer, x, _| layer.run(x, &edges, None));

    let mlp = Sequential::new().push(Linear::new(3, 5, init)).push(Relu).push(Linear::new(5, 2, init));
    let gin = GinConv::trained(mlp, 0.1, init);
    check(&case("gin"), &gin, |layer, x, _| layer.run(x, &edges));
    let fixed = GinConv::new(gin.nn, 0.0, init);
    fixed.load_state_dict(&below(case("gin").all(), "before.")).unwrap();
    assert!(fixed.named_parameters().iter().all(|(name, _)| name != "eps"));
    close("fixed", &fixed.run(&case("gin").get("x"), &edges), &case("gin").get("y"), 1e-5);
}

#[test]
fn attention_agrees_with_its_formulas() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let edges = reference.case("graph").get("edges");
    let init = &mut Init::new(&device, 0);
    let case = |name: &str| reference.case(&format!("graph.{name}"));
    let heads = |heads: usize| GatOptions { heads, ..Default::default() };
    let bare = GatOptions { concat: false, negative_slope: 0.5, add_self_loops: false, bias: false, ..heads(3) };
    let shared =
        GatOptions { concat: false, negative_slope: 0.1, add_self_loops: false, share_weights: true, ..heads(2) };
    check(&case("gat"), &GatConv::new(3, 4, heads(2), init), |layer, x, _| layer.run(x, &edges));
    check(&case("gat_mean"), &GatConv::new(3, 2, bare, init), |layer, x, _| layer.run(x, &edges));
    check(&case("gatv2"), &Gatv2Conv::new(3, 4, heads(2), init), |layer, x, _| layer.run(x, &edges));
    check(&case("gatv2_shared"), &Gatv2Conv::new(3, 2, shared, init), |layer, x, _| layer.run(x, &edges));

    let layer = GatConv::new(3, 4, GatOptions { dropout: 0.5, ..heads(2) }, init);
    let x = Tensor::ones(&device, [6, 3]);
    let draw = || layer.run(&x, &edges).to_vec::<f32>().unwrap();
    assert_ne!(draw(), draw());
    layer.eval();
    assert_eq!(draw(), draw());
}

#[test]
fn pooling_and_messages() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let batch = reference.case("graph").get("batch");
    type Pool = fn(&Tensor, &Tensor, usize) -> Tensor;
    let pools: [(&str, Pool); 3] =
        [("pool_sum", global_add_pool), ("pool_mean", global_mean_pool), ("pool_max", global_max_pool)];
    for (name, pool) in pools {
        check(&reference.case(&format!("graph.{name}")), &Nothing, |_, x, _| pool(x, &batch, 4));
    }

    let edges = Tensor::new(&device, [[0i32, 1, 2, 2], [1, 1, 1, 0]]);
    let graph = Messages::new(&edges, 4).unwrap_or_else(|_| panic!("edges fit"));
    assert_eq!(graph.degree(None).to_vec::<f32>().unwrap(), [1.0, 3.0, 0.0, 0.0]);
    let weights = Tensor::new(&device, [0.5, 1.0, 2.0, 4.0]);
    assert_eq!(graph.degree(Some(&weights)).to_vec::<f32>().unwrap(), [4.0, 3.5, 0.0, 0.0]);
    assert_eq!(graph.with_loops().degree(None).to_vec::<f32>().unwrap(), [2.0, 4.0, 1.0, 1.0]);
    // scores far apart: the largest of each node is taken out first
    let shares = graph.softmax(&Tensor::new(&device, [1000.0, 1000.0, -1000.0, -5000.0])).to_vec::<f32>().unwrap();
    assert_eq!(shares, [0.5, 0.5, 0.0, 1.0]);
}

/// The largest of equals is that number to the last bit, whose mean would round or overflow; its gradient is shared.
#[test]
fn the_largest_of_equals_is_one_of_them() {
    let device = Device::open().unwrap();
    let odd = [0.379_194_56f32, 3.2e38, f32::INFINITY, f32::NEG_INFINITY, -0.1];
    let rows = Tensor::new(&device, [odd, odd, odd]);
    let (places, zeros) = (Tensor::new(&device, [0i32, 0, 0]), Tensor::zeros(&device, [2, 5]));
    for reduce in [ScatterReduce::Amax, ScatterReduce::Amin] {
        let y = zeros.index_reduce(0, &places, &rows, reduce, false);
        assert_eq!(y.to_vec::<f32>().unwrap(), [odd, [0.0; 5]].concat());
        let slope = y.sum().grad(&[&rows]).unwrap()[0].to_vec::<f32>().unwrap();
        assert!(slope.iter().all(|slope| (slope - 1.0 / 3.0).abs() < 1e-6), "{slope:?}");
    }
    // an index along an axis of extent 1 has strides and no address of its own in the kernel
    let counts =
        (zeros.cast(DType::I32) + 3).index_reduce(0, &places, &rows.cast(DType::I32), ScatterReduce::Amin, true);
    assert_eq!(counts.narrow(0, 0, 1).to_vec::<i32>().unwrap()[..1], [0]);
}

#[test]
fn scatter_reduce_agrees_with_pytorch() {
    let device = Device::open().unwrap();
    let reference = Reference::load(&device);
    let kinds = [
        ("sum", ScatterReduce::Sum),
        ("prod", ScatterReduce::Prod),
        ("mean", ScatterReduce::Mean),
        ("amax", ScatterReduce::Amax),
        ("amin", ScatterReduce::Amin),
    ];
    for (name, reduce) in kinds {
        for (axis, include_self) in [(0, true), (1, true), (0, false), (1, false)] {
            let word = if include_self { "True" } else { "False" };
            let case = reference.case(&format!("scatter.{name}.{word}.{axis}"));
            let (own, source, index) = (case.get("own"), case.get("source"), case.get("index"));
            let y = own.scatter_reduce(axis, &index, &source, reduce, include_self);
            case.check(&Nothing, &[("own", &own), ("source", &source)], &[("y", &y)]);
        }
    }
    let case = reference.case("scatter.nan");
    let y = case.get("own").scatter_reduce(0, &case.get("index"), &case.get("source"), ScatterReduce::Amax, true);
    close("nan", &y, &case.get("y"), 0.0);

    // whole numbers, a longer source, numbers without axes, nothing at all
    let ints = Tensor::new(&device, [10i32, 20, 30]);
    let (index, source) = (Tensor::new(&device, [2i32, 2, 0]), Tensor::new(&device, [-7i32, 4, 5, 100]));
    let reduced = |reduce, include| ints.scatter_reduce(0, &index, &source, reduce, include).to_vec::<i32>().unwrap();
    assert_eq!(reduced(ScatterReduce::Amin, true), [5, 20, -7]);
    assert_eq!(reduced(ScatterReduce::Amax, false), [5, 20, 4]);
    assert_eq!(reduced(ScatterReduce::Mean, false), [5, 20, -2]); // rounded down, as in PyTorch
    assert_eq!(reduced(ScatterReduce::Prod, true), [50, 20, -840]);
    let (one, zero) = (Tensor::new(&device, 3.0), Tensor::new(&device, 0i32));
    let single = one.scatter_reduce(0, &zero, &Tensor::new(&device, 5.0), ScatterReduce::Prod, true);
    assert_eq!((single.rank(), single.item().unwrap()), (0, 15.0));
    let none = Tensor::from_vec(&device, Vec::<i32>::new(), &[0]);
    let kept = ints.scatter_reduce(0, &none, &none, ScatterReduce::Amax, false);
    assert_eq!(kept.to_vec::<i32>().unwrap(), [10, 20, 30]);

    // whole numbers that a float does not hold
    let big = Tensor::new(&device, [16_777_217i32, -16_777_219, 2_000_000_001]);
    let parts = Tensor::new(&device, [16_777_217i32, 2, 16_777_221, 1]);
    let places = Tensor::new(&device, [0i32, 2, 0, 2]);
    let exact = |reduce, include| {
        let all = big.scatter_reduce(0, &places, &parts, reduce, include);
        let wide = |t: &Tensor| Tensor::stack(&[t, t, t, t, t], 1);
        let rows = wide(&big).index_reduce(0, &places, &wide(&parts), reduce, include);
        assert_eq!(rows.select(1, 3).to_vec::<i32>().unwrap(), all.to_vec::<i32>().unwrap());
        all.to_vec::<i32>().unwrap()
    };
    assert_eq!(exact(ScatterReduce::Sum, true), [50_331_655, -16_777_219, 2_000_000_004]);
    assert_eq!(exact(ScatterReduce::Sum, false), [33_554_438, -16_777_219, 3]);
    assert_eq!(exact(ScatterReduce::Mean, true), [16_777_218, -16_777_219, 666_666_668]);
    assert_eq!(exact(ScatterReduce::Amax, true), [16_777_221, -16_777_219, 2_000_000_001]);
    assert_eq!(exact(ScatterReduce::Amin, false), [16_777_217, -16_777_219, 1]);
    assert_eq!(exact(ScatterReduce::Prod, false)[2], 2);

    let past = ints.scatter_reduce(0, &Tensor::new(&device, [3i32]), &source, ScatterReduce::Amax, true);
    assert!(matches!(past.to_vec::<i32>().unwrap_err(), Error::Index { .. }));
    let floats = Tensor::new(&device, [0.0, 1.0, 2.0]);
    let bad = [
        ints.scatter_reduce(0, &floats, &source, ScatterReduce::Amax, true),
        ints.scatter_reduce(1, &index, &source, ScatterReduce::Amax, true),
        ints.scatter_reduce(0, &source, &index, ScatterReduce::Amax, true),
        ints.index_reduce(0, &index, &source, ScatterReduce::Amax, true),
        ints.index_reduce(0, &floats, &index, ScatterReduce::Amax, true),
    ];
    for y in bad {
        let error = y.eval().unwrap_err();
        assert!(matches!(error, Error::Shape { .. } | Error::DType { .. } | Error::Axis { .. }), "{error}");
    }
}

#[test]
fn graphs_without_edges_or_nodes() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let none = Tensor::from_vec(&device, Vec::<i32>::new(), &[2, 0]);
    let x = Tensor::ones(&device, [3, 2]);
    let gcn = GcnConv::new(2, 4, init);
    close("gcn", &gcn.run(&x, &none, None), &gcn.lin.forward(&x), 1e-6); // its own loop alone
    let sage = SageConv::new(2, 4, init);
    let root = sage.lin_r.as_ref().unwrap().forward(&x) + sage.lin_l.bias.as_ref().unwrap();
    close("sage", &sage.run(&x, &none), &root, 1e-6);
    let gat = GatConv::new(2, 4, GatOptions::default(), init);
    close("gat", &gat.run(&x, &none), &gat.lin.forward(&x), 1e-6);
    let bare = GatConv::new(2, 4, GatOptions { add_self_loops: false, ..Default::default() }, init);
    close("bare", &bare.run(&x, &none), &Tensor::zeros(&device, [3, 4]), 0.0);
    for how in [Aggregation::Sum, Aggregation::Mean, Aggregation::Max] {
        let layer = GraphConv { aggregation: how, ..GraphConv::new(2, 4, init) };
        assert_eq!(layer.run(&x, &none, None).to_vec::<f32>().unwrap().len(), 12);
    }
    let nobody = Tensor::zeros(&device, [0, 2]);
    assert_eq!(gcn.run(&nobody, &none, None).shape().unwrap(), [0, 4]);
    assert!(gcn.run(&nobody, &none, None).to_vec::<f32>().unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = Device::open().unwrap();
    let init = &mut Init::new(&device, 0);
    let (x, edges) = (Tensor::ones(&device, [3, 2]), Tensor::new(&device, [[0i32, 1], [1, 2]]));
    let (gcn, sage) = (GcnConv::new(2, 4, init), SageConv::new(2, 4, init));
    let bad = [
        gcn.run(&Tensor::ones(&device, [3, 3]), &edges, None),
        gcn.run(&x, &edges.t().reshape([4]), None),
        gcn.run(&x, &edges.cast(DType::F32), None),
        gcn.run(&x, &edges, Some(&Tensor::ones(&device, [3]))),
        sage.run(&Tensor::ones(&device, [3]), &edges),
        GinConv::new(Identity, 0.0, init).run(&Tensor::ones(&device, [3]), &edges),
        GatConv::new(2, 4, GatOptions::default(), init).run(&x, &x),
        global_add_pool(&x, &Tensor::new(&device, [0i32]), 1),
    ];
    for y in bad {
        let error = y.eval().unwrap_err();
        assert!(matches!(error, Error::Shape { .. } | Error::DType { .. }), "{error}");
    }
    let past = Tensor::new(&device, [[0i32, 1], [1, 3]]);
    for y in [gcn.run(&x, &past, None), sage.run(&x, &past)] {
        assert!(matches!(y.to_vec::<f32>().unwrap_err(), Error::Index { .. }));
    }
}

#[test]
fn edge_lists_on_the_host() {
    let graph = Graph {
        nodes: 3,
        features: vec![1.0; 6],
        edges: vec![[2, 1], [0, 1], [1, 1], [0, 1]],
        weights: Some(vec![4.0, 1.0, 2.0, 3.0]),
    };
    assert_eq!(graph.degree(), [0, 4, 0]);
    let once = graph.clone().coalesce();
    assert_eq!((once.edges, once.weights), (vec![[0, 1], [1, 1], [2, 1]], Some(vec![4.0, 2.0, 4.0])));
    let both = graph.clone().to_undirected();
    assert_eq!(both.edges, [[0, 1], [1, 0], [1, 1], [1, 2], [2, 1]]);
    assert_eq!(both.weights, Some(vec![4.0, 4.0, 4.0, 4.0, 4.0]));
    let looped = graph.clone().remove_self_loops().add_self_loops(0.5);
    assert_eq!(looped.edges, [[2, 1], [0, 1], [0, 1], [0, 0], [1, 1], [2, 2]]);
    assert_eq!(looped.weights, Some(vec![4.0, 1.0, 3.0, 0.5, 0.5, 0.5]));

    let device = Device::open().unwrap();
    let lonely = Graph { nodes: 1, features: vec![7.0, 8.0], edges: vec![], weights: Some(vec![]) };
    let empty = Graph { weights: Some(vec![]), ..Graph::default() };
    let all = GraphBatch::new(&[graph.clone(), empty, lonely.clone(), graph.clone()], &device).unwrap();
    assert_eq!((all.graphs, all.offsets), (4, vec![0, 3, 3, 4, 7]));
    assert_eq!(all.x.shape().unwrap(), [7, 2]);
    assert_eq!(all.batch.to_vec::<i32>().unwrap(), [0, 0, 0, 2, 3, 3, 3]);
    assert_eq!(all.edges.to_vec::<i32>().unwrap(), [2, 0, 1, 0, 6, 4, 5, 4, 1, 1, 1, 1, 5, 5, 5, 5]);
    assert_eq!(all.weights.unwrap().to_vec::<f32>().unwrap(), [4.0, 1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0]);

    // a batch is what its graphs are alone
    let layer = GcnConv::new(2, 3, &mut Init::new(&device, 0));
    let alone = GraphBatch::new(std::slice::from_ref(&graph), &device).unwrap();
    let both = GraphBatch::new(&[lonely.clone(), graph.clone()], &device).unwrap();
    let run = |b: &GraphBatch| layer.run(&b.x, &b.edges, b.weights.as_ref());
    close("batch", &run(&both).narrow(0, 1, 3), &run(&alone), 1e-6);

    let bad = [
        Graph { edges: vec![[0, 3]], weights: None, ..graph.clone() },
        Graph { edges: vec![[-1, 0]], weights: None, ..graph.clone() },
        Graph { features: vec![0.0; 4], ..graph.clone() },
        Graph { weights: Some(vec![1.0]), ..graph.clone() },
    ];
    for graph in bad {
        assert!(matches!(graph.check().unwrap_err(), Error::Argument { .. }));
        assert!(GraphBatch::new(&[graph], &device).is_err());
    }
    assert!(GraphBatch::new(&[], &device).is_err());
    let crowd = Graph { nodes: i32::MAX as usize, edges: vec![[0, i32::MAX - 1]], ..Graph::default() };
    assert!(GraphBatch::new(&[crowd.clone(), crowd], &device).is_err()); // before memory is asked for
    assert!(GraphBatch::new(&[graph.clone(), Graph { weights: None, ..lonely.clone() }], &device).is_err());
    assert!(GraphBatch::new(&[graph, Graph { features: vec![1.0], ..lonely }], &device).is_err());
}
