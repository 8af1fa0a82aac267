"""An installation has what the page is made from."""

import zipfile


def test_templates_are_in_the_wheel(wheel, checkout):
    folder = checkout / "nnunetv2_mamba" / "report" / "templates"
    expected = {path.relative_to(checkout).as_posix() for path in folder.iterdir()}
    assert len(expected) == 4
    with zipfile.ZipFile(wheel) as archive:
        assert expected <= set(archive.namelist())
