"""The doctor's checks, each against a machine that has the problem and one that has not."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nnunetv2_mamba import doctor
from nnunetv2_mamba.doctor import Finding, Status, backends, discovery, packages
from nnunetv2_mamba.ops import Decision


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Put a package with the given source first on the search path, and its distribution where a version is given."""

    def install(module: str, source: str, version: str | None = None):
        (tmp_path / module).mkdir()
        (tmp_path / module / "__init__.py").write_text(source)
        if version:
            metadata = tmp_path / f"{module}-{version}.dist-info"
            metadata.mkdir()
            name = module.replace("_", "-")
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return tmp_path / module

    return install


def test_versions_name_what_a_bug_report_needs():
    finding = packages.check_versions()
    assert finding.status is Status.OK
    assert all(name in finding.text for name in ("python 3", "torch 2", "nnunetv2 2", "mamba-ssm", "nnunetv2-mamba"))


def test_the_real_packages_pass():
    checks = (packages.check_torch, packages.check_nnunet, packages.check_torchvision)
    assert [check().status for check in checks] == [Status.OK] * 3


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("__version__ = '2.4.1'", "2.4.1 is older than 2.5"),
        ("raise OSError('libc')", "OSError: libc"),
        ("raise AttributeError('_ARRAY_API')", "AttributeError: _ARRAY_API"),
    ],
)
def test_a_torch_that_is_old_or_broken_fails(fake, source, sentence):
    fake("torch", source)
    finding = packages.check_torch()
    assert finding.status is Status.FAIL
    assert sentence in finding.text


def test_a_torchvision_of_another_torch_fails_with_the_remedy(fake):
    fake("torchvision", "raise RuntimeError('operator torchvision::nms does not exist\\nmore')", "0.1.0")
    finding = packages.check_torchvision()
    assert finding.status is Status.FAIL
    assert "operator torchvision::nms does not exist)" in finding.text
    assert "pip install torch torchvision" in finding.remedy


def test_that_torchvision_ends_nnunets_look_up(fake, bare_environment, tmp_path):
    fake("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    finding = discovery.check_trainers(bare_environment | {"PYTHONPATH": str(tmp_path)})
    assert finding.status is Status.FAIL
    assert "torchvision::nms" in finding.text


def test_an_old_fork_of_nnunet_fails(fake):
    folder = fake("nnunetv2", "", "2.1.1")
    finding = packages.check_nnunet()
    assert finding.status is Status.FAIL
    assert f"nnunetv2 2.1.1 in {folder}" in finding.text
    assert "pip uninstall" in finding.remedy


def test_a_fork_with_a_new_version_number_fails(fake):
    fake("nnunetv2", "", "2.8.1")
    finding = packages.check_nnunet()
    assert finding.status is Status.FAIL
    assert "lacks the search of nnUNet_extTrainer" in finding.text


def test_a_copy_of_nnunet_in_front_of_the_installed_one_is_a_warning(fake):
    folder = fake("nnunetv2", "")
    (folder / "utilities").mkdir()
    (folder / "utilities" / "find_objects.py").write_text("nnUNet_extTrainer")
    finding = packages.check_nnunet()
    assert finding.status is Status.WARN
    assert str(folder) in finding.text


def test_no_nnunet_fails(monkeypatch):
    monkeypatch.setattr(packages.plugin, "nnunet_folder", lambda: None)
    assert packages.check_nnunet() == Finding(
        Status.FAIL, "nnunetv2 is not installed", "pip install 'nnunetv2>=2.8,<3'"
    )


@pytest.mark.parametrize("error", ["ImportError", "OSError", "RuntimeError", "AttributeError"])
def test_a_broken_extension_is_a_warning(fake, error):
    fake("mamba_ssm", f"raise {error}('selective_scan_cuda.so: undefined symbol: _ZN3c104cuda9SetDevice')", "2.2.2")
    finding = packages.check_extension("mamba-ssm")
    assert finding.status is Status.WARN
    assert f"mamba-ssm 2.2.2 is installed but broken, so it is not used: {error}" in finding.text
    assert "undefined symbol" in finding.text
    assert "pip uninstall mamba-ssm" in finding.remedy


def test_an_extension_that_misses_a_package_is_a_warning(fake):
    fake("causal_conv1d", "import a_package_that_is_not_there", "1.5.0")
    finding = packages.check_extension("causal-conv1d")
    assert finding.status is Status.WARN
    assert "a_package_that_is_not_there" in finding.text


def test_an_extension_that_loads_or_is_absent_is_fine(fake):
    fake("causal_conv1d", "", "1.5.0")
    assert packages.check_extension("causal-conv1d") == Finding(Status.OK, "causal-conv1d 1.5.0 loads")
    assert packages.check_extension("never-heard-of").status is Status.OK


def test_devices_end_with_the_cpu():
    assert backends.device_types()[-1] == "cpu"
    assert any(finding.text.startswith("cpu: ") for finding in backends.check_devices())


def test_every_backend_is_told_with_reason_and_error():
    decisions = [
        Decision("scan", "fast", False, "rejected: it is off by 1"),
        Decision("scan", "sound", True, "chosen", 2e-7),
    ]
    findings = backends.judge("cpu", decisions)
    assert [finding.status for finding in findings] == [Status.OK, Status.OK]
    assert findings[0].text == "scan on cpu: fast: rejected: it is off by 1"
    assert findings[1].text == "scan on cpu: sound: chosen (self-check: largest relative error 2.0e-07)"


def slow(op: str = "selective_scan", **changes: object) -> Decision:
    return replace(Decision(op, "torch", True, "chosen", slow="twice as long"), **changes)


def test_a_slow_backend_is_a_warning_where_it_is_chosen():
    chosen, unused = (backends.judge("mps", [slow(chosen=chosen)])[0] for chosen in (True, False))
    assert (chosen.status, unused.status) == (Status.WARN, Status.OK)
    assert chosen.text == "selective_scan on mps: torch: chosen, and takes twice as long"


def test_a_slow_backend_on_the_cpu_is_a_warning_that_names_what_is_faster():
    (finding,) = backends.judge("cpu", [slow()])
    assert finding.status is Status.WARN
    assert "numba" in finding.remedy


def test_a_slow_backend_on_cuda_fails_as_training_does():
    (finding,) = backends.judge("cuda", [slow()])
    assert finding.status is Status.FAIL
    assert finding.text.endswith("takes twice as long, so our trainers refuse to train on it")
    for remedy in ("nnunetv2-mamba[cuda]", "-device cpu", "NNUNETV2_MAMBA_BACKEND=torch"):
        assert remedy in finding.remedy


def test_a_backend_that_is_not_slow_needs_no_remedy():
    assert backends.judge("cuda", [slow("causal_conv1d", slow=None)])[0].status is Status.OK


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_slow_backend_that_the_user_forces_is_unset_not_installed(monkeypatch, device):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "torch")
    (finding,) = backends.judge(device, [slow()])
    assert (finding.status, finding.remedy) == (Status.WARN, "unset NNUNETV2_MAMBA_BACKEND")


def test_a_refusal_that_may_pass_is_a_warning_with_its_own_remedy():
    refused = Decision("selective_scan", "triton", False, "rejected for now: no memory", remedy="free memory")
    assert backends.judge("cuda", [refused])[0] == Finding(
        Status.WARN, "selective_scan on cuda: triton: rejected for now: no memory", "free memory"
    )


def test_no_backend_at_all_fails():
    assert backends.judge("cpu", [Decision("scan", "fast", False, "rejected: no")])[-1].status is Status.FAIL


def test_a_forced_backend_that_does_not_exist_fails(monkeypatch):
    monkeypatch.setenv("NNUNETV2_MAMBA_BACKEND", "warp")
    failures = [finding for finding in backends.check_backends() if finding.status is Status.FAIL]
    assert failures
    assert all("NNUNETV2_MAMBA_BACKEND=warp" in finding.text for finding in failures)
    assert failures[0].remedy == "unset NNUNETV2_MAMBA_BACKEND"


def test_the_autoload_is_on_unless_a_variable_says_no():
    assert discovery.check_autoload({}).status is Status.OK
    for variable in ("NNUNETV2_MAMBA_AUTOLOAD", "TORCH_DEVICE_BACKEND_AUTOLOAD"):
        finding = discovery.check_autoload({variable: "0"})
        assert finding.status is Status.WARN
        assert variable in finding.text
        assert "export nnUNet_extTrainer=" in finding.remedy


def test_nnunet_finds_our_trainers_unless_kept_from_it(bare_environment):
    found = discovery.check_trainers(bare_environment)
    assert found.status is Status.OK, found
    kept_out = discovery.check_trainers(bare_environment | {"NNUNETV2_MAMBA_AUTOLOAD": "0"})
    assert kept_out.status is Status.WARN
    assert "Could not find requested nnunet trainer" in kept_out.text


def test_folders_are_set_and_there(tmp_path):
    environment = {"nnUNet_raw": str(tmp_path), "nnUNet_preprocessed": str(tmp_path / "nowhere")}
    there, nowhere, unset = discovery.check_folders(environment)
    assert (there.status, nowhere.status, unset.status) == (Status.OK, Status.WARN, Status.FAIL)
    assert "mkdir -p" in nowhere.remedy
    assert unset.remedy.startswith("export nnUNet_results=FOLDER")


@pytest.mark.parametrize("value", [None, ""])
def test_only_the_folders_that_training_needs_fail_when_unset(value):
    assert [discovery.check_folder(variable, value).status for variable in discovery.FOLDERS] == [
        Status.WARN,
        Status.FAIL,
        Status.FAIL,
    ]


def test_a_file_in_place_of_a_folder_fails(tmp_path):
    (tmp_path / "file").touch()
    finding = discovery.check_folder("nnUNet_results", str(tmp_path / "file"))
    assert finding.status is Status.FAIL
    assert "is not a folder" in finding.text


def test_first_use_says_that_only_folders_are_missing(monkeypatch, capsys):
    fine = [Finding(Status.OK, "fine")]
    checks = [("versions", lambda: fine), (doctor.FOLDERS_HEADING, lambda: discovery.check_folders({}))]
    monkeypatch.setattr(doctor, "diagnose", lambda environment: checks)
    assert doctor.report() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("the installation works, and `nnUNetv2_mamba demo` needs nothing more")
    assert "training on your own data needs the folders" in lines[-1]
    assert sum("remedy: export nnUNet_" in line for line in lines) == 3


def test_missing_folders_do_not_hide_another_failure(monkeypatch, capsys):
    broken = [Finding(Status.FAIL, "broken", "mend it")]
    checks = [("versions", lambda: broken), (doctor.FOLDERS_HEADING, lambda: discovery.check_folders({}))]
    monkeypatch.setattr(doctor, "diagnose", lambda environment: checks)
    assert doctor.report() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "training would not work: 3 to fix, marked fail above"


def test_a_torch_that_does_not_import_leaves_every_heading_with_a_finding(tmp_path, bare_environment):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    # Where this package is imported from stays on the path, behind the broken torch.
    path = os.pathsep.join([str(tmp_path), str(Path(doctor.__file__).parents[2])])
    result = subprocess.run(
        [sys.executable, "-m", "nnunetv2_mamba", "doctor"],
        env=bare_environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "  fail  torch does not import: OSError: libcudart.so.13: cannot open shared object file" in result.stdout
    for heading in ("devices", "backends"):
        assert f"{heading}\n  fail  this could not be checked: OSError: libcudart.so.13" in result.stdout
    assert "export nnUNet_results=" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("training would not work: ")


@pytest.mark.parametrize(("status", "code"), [(Status.OK, 0), (Status.WARN, 0), (Status.FAIL, 1)])
def test_only_failures_fail(monkeypatch, capsys, status, code):
    finding = Finding(status, "something is so", "do this")
    monkeypatch.setattr(doctor, "diagnose", lambda environment: [("heading", lambda: [finding])])
    assert doctor.report() == code
    assert f"  {status.value:<5} something is so\n        remedy: do this" in capsys.readouterr().out


def test_every_check_is_asked():
    headings = [heading for heading, _ in doctor.diagnose(dict(os.environ))]
    assert headings == [
        "versions",
        "optional CUDA packages",
        "devices",
        "backends",
        "how nnU-Net finds our trainers",
        "nnU-Net's folders",
    ]
