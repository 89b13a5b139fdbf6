"""What a run deletes of the folder of networks."""

from evoseg.runs.run_folder import NETWORKS, RunFolder


def test_only_networks_are_deleted_from_a_folder_of_their_name(tmp_path):
    folder = tmp_path / NETWORKS
    folder.mkdir()
    own = [folder / f"{'0a' * 16}.onnx", folder / f"{'0a' * 16}.pack", folder / f".{'0a' * 16}.onnx.1.part"]
    for file in (*own, folder / "thesis.txt", folder / "model.onnx"):
        file.touch()
    RunFolder("id", tmp_path).clear(database=True)
    assert sorted(file.name for file in folder.iterdir()) == ["model.onnx", "thesis.txt"]


def test_a_folder_of_networks_alone_goes_and_a_link_stays(tmp_path):
    (tmp_path / "a" / NETWORKS).mkdir(parents=True)
    (tmp_path / "a" / NETWORKS / f"{'0a' * 16}.onnx").touch()
    RunFolder("id", tmp_path / "a").clear(database=True)
    assert not (tmp_path / "a" / NETWORKS).exists()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (kept := elsewhere / f"{'0a' * 16}.onnx").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NETWORKS).symlink_to(elsewhere)
    RunFolder("id", tmp_path / "b").clear(database=True)
    assert kept.exists()
