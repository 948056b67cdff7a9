"""What the service tells of kept models, and what gives way when room is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from local_llm.errors import Busy, CorruptModel, StorageFull, UnknownModel
from local_llm.gpu.ports import Kept
from local_llm.keeping import Keeping
from local_llm.service import Service
from tests.model.tiny import write_tiny_gguf
from tests.unit.service_rig import CATALOG, Bench

MB = 1_000_000


class Shelf:
    """A Storage in memory, of which 100 MB are used up by others."""

    def __init__(self, *models: Kept) -> None:
        self.models = list(models)
        self.told: list[object] = []
        self.open: Any = None

    def address(self, place):
        return f"https://here/{place}" if "://" not in place else place

    def opener(self, source, sha256=None, nbytes=0):
        self.told.append(("open", source, sha256))
        return self.open

    async def loaded(self, source):
        self.told.append(("loaded", source))

    def rest(self):
        self.told.append("rest")

    async def kept(self):
        return list(self.models)

    async def delete(self, model):
        [found] = [one for one in self.models if one.model == model]
        if found.used:
            raise Busy("it is in use")
        self.models.remove(found)
        return found.nbytes

    async def export(self, model):
        return "name", model

    async def adopt(self, body, model, sha256=""):
        self.told.append(("adopt", model, sha256))
        return [model]

    async def pin(self, model, pinned):
        self.models = [replace(one, pinned=pinned) if one.model == model else one for one in self.models]

    async def room(self):
        used = 100 * MB + sum(one.nbytes for one in self.models)
        return {"kind": "opfs", "reason": "", "used_bytes": used, "quota_bytes": 200 * MB, "persistent": False}


def kept(name, megabytes, used_at, **more):
    return Kept(f"https://here/{name}", megabytes * MB, megabytes * MB, whole=True, used_at=used_at, **more)


def keeping_of(shelf, bench):
    changes = []
    return Keeping(replace(bench.service()._host, storage=shelf), lambda: changes.append(1)), changes


async def test_the_least_recently_used_give_way_but_no_more_than_needed(tmp_path):
    shelf = Shelf(kept("new", 30, 9), kept("pinned", 20, 1, pinned=True), kept("old", 20, 2), kept("mid", 20, 5))
    keeping, changes = keeping_of(shelf, Bench(tmp_path))
    assert await keeping.free(10 * MB) == 0  # it is free already
    assert await keeping.free(45 * MB) == 40 * MB
    assert [one.model for one in shelf.models] == ["https://here/new", "https://here/pinned"]
    assert len(changes) == 2  # seen at first, and after
    with pytest.raises(StorageFull, match="20000000 missing"):
        await keeping.free(100 * MB)
    assert len(shelf.models) == 2


async def test_what_is_told_of_models(tmp_path):
    half = replace(kept("half", 3, 0), whole=False, size=6 * MB)
    keeping, _ = keeping_of(Shelf(kept("a", 5, 1), half, kept("used", 1, 1, used=True)), Bench(tmp_path))
    assert keeping.told(["a"]) == {"cached": False, "deletable": False, "kept_bytes": 0, "pinned": False}
    await keeping.refresh()
    assert keeping.told(["a"]) == {"cached": True, "deletable": True, "kept_bytes": 5 * MB, "pinned": False}
    assert keeping.told(["x", "half"]) == {"cached": False, "deletable": True, "kept_bytes": 3 * MB, "pinned": False}
    assert [(row["id"], row["nbytes"]) for row in keeping.listed({"half": "H"})] == [
        (None, 5 * MB),
        ("H", 3 * MB),
        (None, MB),
    ]
    assert await keeping.delete(["half"]) == 3 * MB
    with pytest.raises(Busy):
        await keeping.delete(["used"])
    with pytest.raises(UnknownModel):
        await keeping.delete(["half"])


async def test_a_service_opens_models_through_storage_and_lets_go_of_them(tmp_path):
    bench, shelf = Bench(tmp_path), Shelf(kept("tiny.gguf", 1, 0))
    shelf.open = bench.open_blobs
    write_tiny_gguf(tmp_path / "tiny.gguf", 1)
    service = Service(replace(bench.service()._host, storage=shelf), catalog=CATALOG)
    changes = []
    service.on("storage-changed", changes.append)
    service.on("ready", lambda detail: bench.play(service))
    await service.init("tiny")
    assert shelf.told[0] == ("open", "tiny.gguf", None)
    assert (await service.stored_models())[0]["id"] == "tiny"
    assert changes == [{"models": 1, "kept_bytes": MB}]
    assert ("loaded", "tiny.gguf") in shelf.told
    await service.unload()
    assert shelf.told[-1] == "rest"
    with pytest.raises(Exception, match="gone"):
        await service.init("gone")
    assert shelf.told[-1] == "rest"
    assert await service.delete_model("tiny") == MB
    assert service.available_models()[1]["deletable"] is False


async def test_a_host_without_storage_says_so(tmp_path):
    service = Bench(tmp_path).service()
    assert await service.stored_models() == []
    assert (await service.storage())["kind"] is None
    with pytest.raises(UnknownModel, match="keeps no models"):
        await service.delete_model("tiny")


class Named:
    """A file that a person chose."""

    def __init__(self, path, name):
        self._data, self.name, self.size = path.read_bytes(), name, path.stat().st_size

    async def read(self, start, stop):
        return self._data[start:stop]


async def test_models_go_to_files_and_come_back_by_name_or_address(tmp_path):
    bench, shelf = Bench(tmp_path), Shelf(kept("tiny.gguf", 1, 0))
    path = write_tiny_gguf(tmp_path / "tiny.gguf", 1).path
    service = Service(replace(bench.service()._host, storage=shelf), catalog=CATALOG)
    assert await service.export_model("tiny") == ("name", "https://here/tiny.gguf")
    with pytest.raises(UnknownModel, match="Nothing is kept"):
        await service.export_model("https://here/other.gguf")
    assert await service.import_model(Named(path, "tiny.gguf")) == ["tiny.gguf"]
    assert await service.import_model(Named(path, "mine.gguf"), "https://here/mine.gguf")
    assert await service.import_model(Named(path, "mine.gguf")) == [None]  # the host says what is missing
    told = [("tiny.gguf", ""), ("https://here/mine.gguf", ""), (None, "")]
    assert shelf.told == [("adopt", *one) for one in told]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CorruptModel):
        await service.import_model(Named(path, "tiny.gguf"))
    assert len(shelf.told) == 3


async def test_a_refused_load_names_what_would_give_way(tmp_path):
    shelf = Shelf(kept("new", 30, 9), kept("pinned", 20, 1, pinned=True), kept("old", 20, 2), kept("tiny.gguf", 5, 0))
    service = Service(replace(Bench(tmp_path).service()._host, storage=shelf), catalog=CATALOG)
    missing = 30 * MB

    async def full(source):
        raise StorageFull("no room", missing=missing)

    shelf.open = full
    with pytest.raises(StorageFull):
        await service.init("tiny")  # of which 5 MB are there
    assert [(one["name"], one["nbytes"]) for one in service.status()["giving_way"]] == [
        ("old", 20 * MB),
        ("new", 30 * MB),
    ]
    await service.delete_model("https://here/old")
    assert [one["model"] for one in service.status()["giving_way"]] == ["https://here/new"]
    missing = 31 * MB
    with pytest.raises(StorageFull):
        await service.init("tiny")
    assert service.status()["giving_way"] == []  # it would be no use
    missing = 30 * MB
    with pytest.raises(StorageFull):
        await service.retry()
    assert [one["name"] for one in service.status()["giving_way"]] == ["new"]
    await service.free_storage(60 * MB)
    assert service.status()["giving_way"] == []  # there is room now
