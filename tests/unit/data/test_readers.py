import gzip
import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from burnish.data.readers import MAX_ROW_BYTES, read_rows
from burnish.errors import ConfigError, DataError


def test_bom_crlf_blank_lines_and_separators_within_text_are_accepted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"a": "x\\u0000"}\r\n\r\n  \n' + '{"a": "\u2028👩‍🚀\u200b"}'.encode()
    )
    rows = read_rows(path).rows
    assert [r.value["a"] for r in rows] == ["x\x00", "\u2028👩‍🚀\u200b"]
    assert [r.where for r in rows] == [f"{path}:1", f"{path}:4"]


BAD = {
    "trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "cut off": (b'{"a": "x', "not valid JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not JSON"),
    "infinite number": (b'{"a": 1e999}', "1e999 is not JSON"),
    "integer of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "`c` is given twice"),
    "no object": (b"[1]", "must be a JSON object, not a list"),
    "Latin-1": (b'{"a": "caf\xe9"}', r"byte 26 \(0xe9\) is not UTF-8"),
    "half a surrogate pair": (b'{"a": "\\ud83d"}', "half of a surrogate pair"),
    "deep nesting": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "100 levels deep"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_line_is_named_with_its_place_or_counted(tmp_path, kind):
    line, message = BAD[kind]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"ok": "first"}\n' + line + b'\n{"ok": "last"}\n')
    with pytest.raises(DataError, match=message) as raised:
        read_rows(path)
    assert str(raised.value).startswith(f"{path}:2: ")
    rows = read_rows(path, skip_bad=True)
    assert [r.where for r in rows.rows] == [f"{path}:1", f"{path}:3"]
    assert rows.num_bad == 1 and rows.first_bad == str(raised.value)


def test_a_row_over_the_size_cap_is_refused_and_the_next_one_still_read(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"a": "' + b"x" * (2 * MAX_ROW_BYTES + 5) + b'"}\n{"a": 1}\n')
    with pytest.raises(DataError, match=":1: the row is larger"):
        read_rows(path)
    rows = read_rows(path, skip_bad=True)
    assert [r.where for r in rows.rows] == [f"{path}:2"]


def test_many_small_objects_are_not_deep_nesting(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"a": [{"b": '[[{"\\'}] * 500}) + "\n")
    assert len(read_rows(path).rows) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_refused(tmp_path, encoding):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n', encoding=encoding)
    with pytest.raises(DataError, match=r"UTF-16|not valid JSON"):
        read_rows(path)


def test_a_cut_gzip_stream_is_refused(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-12])
    with pytest.raises(DataError, match="gzip stream is damaged"):
        read_rows(path, skip_bad=True)


def test_json_lists_csv_and_parquet_give_the_same_rows(tmp_path):
    values = [{"prompt": "a, b\nc", "completion": 'say "x"'}, {"prompt": "é", "completion": "007"}]
    (tmp_path / "a.json").write_text(json.dumps(values, indent=1))
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfprompt,completion\r\n"a, b\nc","say ""x"""\r\n\r\n\xc3\xa9,007\r\n'
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "a.parquet")
    for name in ("a.json", "a.csv", "a.parquet"):
        assert [r.value for r in read_rows(tmp_path / name).rows] == values
    assert [r.where for r in read_rows(tmp_path / "a.csv").rows] == [
        f"{tmp_path / 'a.csv'}:2",
        f"{tmp_path / 'a.csv'}:5",
    ]


def test_csv_rows_of_another_width_are_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n1,2,3\n")
    with pytest.raises(DataError, match=r":3: 3 cells, but the header has 2"):
        read_rows(path)
    assert read_rows(path, skip_bad=True).num_bad == 1
    path.write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="column name is given twice"):
        read_rows(path)


def test_parquet_rows_that_json_cannot_hold_are_named(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"a": [1.0, float("nan")], "b": ["x", "y"]})
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(DataError, match="row 2: holds what is not"):
        read_rows(path)
    assert len(read_rows(path, skip_bad=True).rows) == 1
    path.write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="not a readable parquet file"):
        read_rows(path)


def test_files_that_are_absent_or_of_unknown_kind_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="unknown kind of file"):
        read_rows(tmp_path / "a.pkl")


def test_a_hub_name_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'burnish\[hub\]'"):
        read_rows("hub:owner/name:train")
    with pytest.raises(ConfigError, match="hub:owner/name"):
        read_rows("hub:name")


def test_a_hub_data_set_gives_rows_with_their_numbers(monkeypatch):
    class Fake:
        @staticmethod
        def load_dataset(name, split):
            return [{"name": name, "split": split}]

    monkeypatch.setitem(sys.modules, "datasets", Fake)
    [row] = read_rows("hub:owner/name").rows
    assert row.value == {"name": "owner/name", "split": "train"}
    assert row.where == "hub:owner/name:row 1"


def test_a_json_file_names_the_line_of_its_mistake_and_the_row_that_is_no_object(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[\n {"a": 1},\n {"a": }\n]')
    with pytest.raises(DataError, match=r"at line 3, column 8"):
        read_rows(path, skip_bad=True)
    path.write_text('[{"a": 1}, 2]')
    with pytest.raises(DataError, match="row 2: a row must be a JSON object, not 2"):
        read_rows(path)
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="must be a list of objects"):
        read_rows(path)
