import bz2
import gzip
import lzma
import zlib

import pytest

from celeriac.client.serialization import Codecs, compress, decompress
from celeriac.errors import ConfigurationError, ContentDisallowed, DecodeError, EncodeError, UnknownPlugin


@pytest.mark.parametrize("name", ["gzip", "zlib", "bzip2", "lzma"])
def test_what_is_compressed_comes_back(name):
    packed, header = compress(b"data" * 100, name)

    assert len(packed) < 400
    assert decompress(packed, header, 1000) == b"data" * 100


@pytest.mark.parametrize(
    ("header", "pack"),
    [
        ("application/x-gzip", gzip.compress),
        ("application/x-gzip", zlib.compress),
        ("application/x-bz2", bz2.compress),
        ("application/x-lzma", lzma.compress),
    ],
)
def test_what_others_compress_is_read(header, pack):
    assert decompress(pack(b"data"), header, 100) == b"data"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_a_bomb_is_refused_and_not_unpacked(name):
    packed, header = compress(bytes(10_000_000), name)

    with pytest.raises(DecodeError, match="more than 1000 bytes"):
        decompress(packed, header, 1000)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_broken_and_truncated_data_is_a_decode_error(name):
    packed, header = compress(b"data" * 1000, name)

    with pytest.raises(DecodeError):
        decompress(b"no" + packed, header, 10_000)
    with pytest.raises(DecodeError, match="ends early"):
        decompress(packed[:-4], header, 10_000)


def test_an_unknown_compression_is_named():
    with pytest.raises(EncodeError, match="Did you mean 'gzip'"):
        compress(b"", "gzp")
    with pytest.raises(DecodeError, match="application/zstd"):
        decompress(b"", "application/zstd", 1)


@pytest.mark.plugins
def test_values_come_back_by_their_content_type():
    codecs = Codecs()

    data, content_type, encoding = codecs.dumps({"a": [1]}, "json")

    assert content_type == "application/json"
    assert codecs.loads(data, content_type, encoding, accept=["json"]) == {"a": [1]}
    assert codecs.loads(data, content_type, encoding, accept=["application/json"]) == {"a": [1]}


@pytest.mark.plugins
def test_text_and_other_encodings_are_read():
    codecs = Codecs()

    assert codecs.loads('["ü"]', "application/json") == ["ü"]
    assert codecs.loads('["ü"]'.encode("latin-1"), "application/json", "latin-1") == ["ü"]


@pytest.mark.plugins
def test_a_content_type_that_is_not_accepted_is_not_read():
    codecs = Codecs()
    data, content_type, encoding = codecs.dumps([1], "pickle")

    with pytest.raises(ContentDisallowed, match="accept_content"):
        codecs.loads(data, content_type, encoding, accept=["json"])
    assert codecs.loads(data, content_type, encoding, accept=["json", "pickle"]) == [1]


@pytest.mark.plugins
def test_compressed_values_are_read_up_to_the_limit():
    codecs = Codecs()
    data, content_type, encoding = codecs.dumps("x" * 10_000, "json")
    packed, header = compress(data, "gzip")

    assert len(codecs.loads(packed, content_type, encoding, compression=header)) == 10_000
    with pytest.raises(DecodeError, match="task_max_body_bytes"):
        codecs.loads(packed, content_type, encoding, compression=header, limit=100)


@pytest.mark.plugins
def test_an_encoding_that_does_not_fit_is_a_decode_error():
    with pytest.raises(DecodeError, match="no-such-code"):
        Codecs().loads(b"[]", "application/json", "no-such-code")


@pytest.mark.plugins
def test_an_unknown_serializer_is_named():
    with pytest.raises(UnknownPlugin, match="jsn"):
        Codecs().dumps(1, "jsn")
    with pytest.raises(ConfigurationError, match=r"content type 'application/jso'.*application/json"):
        Codecs().accepted(["application/jso"])
