"""Writes tests/data/files/*.parquet, small tables in the ways that pyarrow writes them, and what is in them
(tests/data/parquet.safetensors). Needs pyarrow, numpy and safetensors."""

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

ROOT = Path(__file__).parent.parent / "tests/data"
FILES = ROOT / "files"
rng = np.random.default_rng(7)
ROWS = 700

kinds = {"bool": pa.bool_(), "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
         "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
         "float": pa.float32(), "double": pa.float64()}
want, columns = {}, {}
for name, kind in kinds.items():
    low = 0 if name.startswith("u") or name == "bool" else -100
    values = rng.integers(low, 2 if name == "bool" else 100, ROWS)
    if name in ("float", "double"):
        values = rng.standard_normal(ROWS).astype(np.float32)
    if name in ("uint32", "uint64"):
        values[:2] = [2**32 - 1, 2**31]
    columns[name] = pa.array(values.astype(bool) if name == "bool" else values, kind)
    want[name] = values.astype(np.float32)
# a long run, few values, many values, nulls
columns["same"] = pa.array(np.full(ROWS, 3.5))
want["same"] = np.full(ROWS, 3.5, np.float32)
holes = rng.random(ROWS) < 0.3
number = rng.integers(0, 1000, ROWS) / 8
columns["holes"] = pa.array(number, mask=holes)
want["holes"] = np.where(holes, -1, number).astype(np.float32)
columns["nulls"] = pa.array([None] * ROWS, pa.float32())
classes = np.array(["dog", "cat", "", "Ärger"])[rng.integers(0, 4, ROWS)]
columns["class"] = pa.array(classes)
want["class"] = np.array([sorted(set(classes), key=lambda s: s.encode()).index(c) for c in classes], np.float32)
# what is not read, beside what is
columns["day"] = pa.array([datetime.date(2020, 1, 1)] * ROWS)
columns["list"] = pa.array([[1, 2]] * ROWS)
columns["pair"] = pa.array([{"a": 1, "b": 2.0}] * ROWS)
columns["huge"] = pa.array(np.full(ROWS, 1e300))
table = pa.table(columns)
numbers = table.select([*kinds, "same", "holes", "class"])

pq.write_table(table, FILES / "snappy.parquet", row_group_size=300)
pq.write_table(numbers, FILES / "v2.parquet", data_page_version="2.0", compression="gzip", data_page_size=500)
pq.write_table(numbers, FILES / "plain.parquet", use_dictionary=False, compression="none", row_group_size=256)
split = [name for name in kinds if kinds[name].bit_width in (32, 64)]
pq.write_table(table.select(split), FILES / "split.parquet", use_dictionary=False, compression="snappy",
               column_encoding={name: "BYTE_STREAM_SPLIT" for name in split})
small = pa.table({"x": pa.array(np.arange(40, dtype=np.float32)), "y": pa.array(np.arange(40) % 3)})
pq.write_table(small, FILES / "small.parquet", use_dictionary=False)
pq.write_table(small, FILES / "zstd.parquet", compression="zstd")
pq.write_table(small, FILES / "delta.parquet", use_dictionary=False, column_encoding={"y": "DELTA_BINARY_PACKED"})
pq.write_table(small.slice(0, 0), FILES / "empty.parquet")
required = pa.schema([pa.field("x", pa.float32(), nullable=False), pa.field("y", pa.int64(), nullable=False)])
pq.write_table(small.cast(required), FILES / "required.parquet")
save_file(want, ROOT / "parquet.safetensors")
