//! Kiln's hand-written WGSL kernels, embedded as text.
//!
//! A kernel file is valid WGSL as it stands. What the host may change in it (a `const`, an `alias`, the body of a
//! slot, the fields of `Sizes`) is specialised by `kiln_device::Source`. Functions of `lib/` are appended by name,
//! and only those that a kernel uses.

/// The files of `lib/` joined: functions that any kernel may call. `kiln_device::Source` appends what is used.
pub const LIBRARY: &str = concat!(
    include_str!("../lib/math.wgsl"),
    include_str!("../lib/special.wgsl"),
    include_str!("../lib/integer.wgsl"),
    include_str!("../lib/order.wgsl"),
    include_str!("../lib/philox.wgsl"),
    include_str!("../lib/grid.wgsl"),
);

/// The other files of `lib/` joined: what the kernels of a family share. It mentions what those files have, and each
/// says what.
pub const SHARED: &str = concat!(
    include_str!("../lib/attention.wgsl"),
    include_str!("../lib/attention_fragments.wgsl"),
    include_str!("../lib/block.wgsl"),
    include_str!("../lib/conv_way.wgsl"),
    include_str!("../lib/conv_weight.wgsl"),
    include_str!("../lib/conv_window.wgsl"),
    include_str!("../lib/fragments.wgsl"),
    include_str!("../lib/matmul.wgsl"),
    include_str!("../lib/pool.wgsl"),
    include_str!("../lib/tile.wgsl"),
);

/// Every kernel file with its name, for tests that look at all of them.
pub const ALL: &[(&str, &str)] = &[
    ("arg_rows", ARG_ROWS),
    ("attention_coop", ATTENTION_COOP),
    ("attention_coop_keys", ATTENTION_COOP_KEYS),
    ("attention_coop_query", ATTENTION_COOP_QUERY),
    ("attention_rows", ATTENTION_ROWS),
    ("attention_rows_keys", ATTENTION_ROWS_KEYS),
    ("attention_rows_query", ATTENTION_ROWS_QUERY),
    ("attention_tile", ATTENTION_TILE),
    ("attention_tile_keys", ATTENTION_TILE_KEYS),
    ("attention_tile_query", ATTENTION_TILE_QUERY),
    ("avg_pool", AVG_POOL),
    ("avg_pool_grad", AVG_POOL_GRAD),
    ("cholesky", CHOLESKY),
    ("conv_coop", CONV_COOP),
    ("conv_depthwise", CONV_DEPTHWISE),
    ("conv_direct", CONV_DIRECT),
    ("conv_subgroup", CONV_SUBGROUP),
    ("conv_tile", CONV_TILE),
    ("conv_weight_coop", CONV_WEIGHT_COOP),
    ("conv_weight_depthwise", CONV_WEIGHT_DEPTHWISE),
    ("conv_weight_direct", CONV_WEIGHT_DIRECT),
    ("conv_weight_subgroup", CONV_WEIGHT_SUBGROUP),
    ("conv_weight_tile", CONV_WEIGHT_TILE),
    ("finite", FINITE),
    ("guard", GUARD),
    ("logsumexp", LOGSUMEXP),
    ("lu", LU),
    ("map", MAP),
    ("matmul_block", MATMUL_BLOCK),
    ("matmul_coop", MATMUL_COOP),
    ("matmul_coop_direct", MATMUL_COOP_DIRECT),
    ("matmul_narrow", MATMUL_NARROW),
    ("matmul_subgroup", MATMUL_SUBGROUP),
    ("matmul_thin", MATMUL_THIN),
    ("matmul_tile", MATMUL_TILE),
    ("max_pool", MAX_POOL),
    ("max_pool_grad", MAX_POOL_GRAD),
    ("norm", NORM),
    ("norm_grad", NORM_GRAD),
    ("random", RANDOM),
    ("recurrence", RECURRENCE),
    ("recurrence_grad", RECURRENCE_GRAD),
    ("reduce_cols", REDUCE_COLS),
    ("reduce_rows", REDUCE_ROWS),
    ("scan", SCAN),
    ("segment_heads", SEGMENT_HEADS),
    ("segment_sum", SEGMENT_SUM),
    ("softmax", SOFTMAX),
    ("solve_triangular", SOLVE_TRIANGULAR),
    ("sort_count", SORT_COUNT),
    ("sort_scatter", SORT_SCATTER),
    ("sort_small", SORT_SMALL),
];

/// `arg_rows.wgsl`.
pub const ARG_ROWS: &str = include_str!("../arg_rows.wgsl");
/// `attention_coop.wgsl`.
pub const ATTENTION_COOP: &str = include_str!("../attention_coop.wgsl");
/// `attention_coop_keys.wgsl`.
pub const ATTENTION_COOP_KEYS: &str = include_str!("../attention_coop_keys.wgsl");
/// `attention_coop_query.wgsl`.
pub const ATTENTION_COOP_QUERY: &str = include_str!("../attention_coop_query.wgsl");
/// `attention_rows.wgsl`.
pub const ATTENTION_ROWS: &str = include_str!("../attention_rows.wgsl");
/// `attention_rows_keys.wgsl`.
pub const ATTENTION_ROWS_KEYS: &str = include_str!("../attention_rows_keys.wgsl");
/// `attention_rows_query.wgsl`.
pub const ATTENTION_ROWS_QUERY: &str = include_str!("../attention_rows_query.wgsl");
/// `attention_tile.wgsl`.
pub const ATTENTION_TILE: &str = include_str!("../attention_tile.wgsl");
/// `attention_tile_keys.wgsl`.
pub const ATTENTION_TILE_KEYS: &str = include_str!("../attention_tile_keys.wgsl");
/// `attention_tile_query.wgsl`.
pub const ATTENTION_TILE_QUERY: &str = include_str!("../attention_tile_query.wgsl");
/// `avg_pool.wgsl`.
pub const AVG_POOL: &str = include_str!("../avg_pool.wgsl");
/// `avg_pool_grad.wgsl`.
pub const AVG_POOL_GRAD: &str = include_str!("../avg_pool_grad.wgsl");
/// `cholesky.wgsl`.
pub const CHOLESKY: &str = include_str!("../cholesky.wgsl");
/// `conv_coop.wgsl`.
pub const CONV_COOP: &str = include_str!("../conv_coop.wgsl");
/// `conv_depthwise.wgsl`.
pub const CONV_DEPTHWISE: &str = include_str!("../conv_depthwise.wgsl");
/// `conv_direct.wgsl`.
pub const CONV_DIRECT: &str = include_str!("../conv_direct.wgsl");
/// `conv_subgroup.wgsl`.
pub const CONV_SUBGROUP: &str = include_str!("../conv_subgroup.wgsl");
/// `conv_tile.wgsl`.
pub const CONV_TILE: &str = include_str!("../conv_tile.wgsl");
/// `conv_weight_coop.wgsl`.
pub const CONV_WEIGHT_COOP: &str = include_str!("../conv_weight_coop.wgsl");
/// `conv_weight_depthwise.wgsl`.
pub const CONV_WEIGHT_DEPTHWISE: &str = include_str!("../conv_weight_depthwise.wgsl");
/// `conv_weight_direct.wgsl`.
pub const CONV_WEIGHT_DIRECT: &str = include_str!("../conv_weight_direct.wgsl");
/// `conv_weight_subgroup.wgsl`.
pub const CONV_WEIGHT_SUBGROUP: &str = include_str!("../conv_weight_subgroup.wgsl");
/// `conv_weight_tile.wgsl`.
pub const CONV_WEIGHT_TILE: &str = include_str!("../conv_weight_tile.wgsl");
/// `finite.wgsl`.
pub const FINITE: &str = include_str!("../finite.wgsl");
/// `guard.wgsl`.
pub const GUARD: &str = include_str!("../guard.wgsl");
/// `logsumexp.wgsl`.
pub const LOGSUMEXP: &str = include_str!("../logsumexp.wgsl");
/// `lu.wgsl`.
pub const LU: &str = include_str!("../lu.wgsl");
/// `map.wgsl`.
pub const MAP: &str = include_str!("../map.wgsl");
/// `matmul_block.wgsl`.
pub const MATMUL_BLOCK: &str = include_str!("../matmul_block.wgsl");
/// `matmul_coop.wgsl`.
pub const MATMUL_COOP: &str = include_str!("../matmul_coop.wgsl");
/// `matmul_coop_direct.wgsl`.
pub const MATMUL_COOP_DIRECT: &str = include_str!("../matmul_coop_direct.wgsl");
/// `matmul_narrow.wgsl`.
pub const MATMUL_NARROW: &str = include_str!("../matmul_narrow.wgsl");
/// `matmul_subgroup.wgsl`.
pub const MATMUL_SUBGROUP: &str = include_str!("../matmul_subgroup.wgsl");
/// `matmul_thin.wgsl`.
pub const MATMUL_THIN: &str = include_str!("../matmul_thin.wgsl");
/// `matmul_tile.wgsl`.
pub const MATMUL_TILE: &str = include_str!("../matmul_tile.wgsl");
/// `max_pool.wgsl`.
pub const MAX_POOL: &str = include_str!("../max_pool.wgsl");
/// `max_pool_grad.wgsl`.
pub const MAX_POOL_GRAD: &str = include_str!("../max_pool_grad.wgsl");
/// `norm.wgsl`.
pub const NORM: &str = include_str!("../norm.wgsl");
/// `norm_grad.wgsl`.
pub const NORM_GRAD: &str = include_str!("../norm_grad.wgsl");
/// `random.wgsl`.
pub const RANDOM: &str = include_str!("../random.wgsl");
/// `recurrence.wgsl`.
pub const RECURRENCE: &str = include_str!("../recurrence.wgsl");
/// `recurrence_grad.wgsl`.
pub const RECURRENCE_GRAD: &str = include_str!("../recurrence_grad.wgsl");
/// `reduce_cols.wgsl`.
pub const REDUCE_COLS: &str = include_str!("../reduce_cols.wgsl");
/// `reduce_rows.wgsl`.
pub const REDUCE_ROWS: &str = include_str!("../reduce_rows.wgsl");
/// `scan.wgsl`.
pub const SCAN: &str = include_str!("../scan.wgsl");
/// `segment_heads.wgsl`.
pub const SEGMENT_HEADS: &str = include_str!("../segment_heads.wgsl");
/// `segment_sum.wgsl`.
pub const SEGMENT_SUM: &str = include_str!("../segment_sum.wgsl");
/// `softmax.wgsl`.
pub const SOFTMAX: &str = include_str!("../softmax.wgsl");
/// `solve_triangular.wgsl`.
pub const SOLVE_TRIANGULAR: &str = include_str!("../solve_triangular.wgsl");
/// `sort_count.wgsl`.
pub const SORT_COUNT: &str = include_str!("../sort_count.wgsl");
/// `sort_scatter.wgsl`.
pub const SORT_SCATTER: &str = include_str!("../sort_scatter.wgsl");
/// `sort_small.wgsl`.
pub const SORT_SMALL: &str = include_str!("../sort_small.wgsl");
