#!/usr/bin/env bash
# Runs Python with this checkout on an emulated aarch64 CPU: whether results are right there, nothing about speed.
#     tests/ops/aarch64.sh FOLDER -m pytest tests/ops/test_numba_math.py
# FOLDER receives that architecture's Python and packages the first time (1 GB). The machine is an x86 one with Debian
# or Ubuntu, prepared by root:
#     apt-get install qemu-user-static && dpkg --add-architecture arm64 && apt-get update
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
shift

unpack_python() {
    mkdir -p "$folder/packages" "$folder/root"
    cd "$folder/packages"
    apt-cache depends --recurse --no-{recommends,suggests,conflicts,breaks,replaces,enhances} "$python:arm64" \
        libgomp1:arm64 libstdc++6:arm64 | grep '^[a-z].*:arm64$' | sort -u | xargs apt-get download
    for package in *.deb; do dpkg -x "$package" "$folder/root"; done
    # Newer releases have the loader in /usr/lib only, and /lib as a link that no package holds.
    [ -e "$folder/root/lib" ] || ln -s usr/lib "$folder/root/lib"
}

install_packages() {
    local tags=(--platform manylinux2014_aarch64)
    for minor in 17 26 27 28; do tags+=(--platform "manylinux_2_${minor}_aarch64"); done
    local pip=(python3 -m pip install --target "$folder/site" --python-version "${python#python}" --only-binary :all:)
    # The last PyTorch whose aarch64 wheel does without CUDA; pip would follow the requirements of x86, which do not.
    "${pip[@]}" "${tags[@]}" --no-deps torch==2.10.0
    "${pip[@]}" "${tags[@]}" numba filelock typing-extensions sympy networkx jinja2 fsspec psutil pytest hypothesis
}

# Python would name the emulated binary, which cannot be started without the emulator, to those who start another.
write_launcher() {
    echo "import sys; sys.executable = '$folder/python'" > "$folder/site/sitecustomize.py"
    cat > "$folder/python" << EOF
#!/bin/sh
export PYTHONPATH="$folder/site:$checkout" PYTHONPYCACHEPREFIX="$folder/pycache" NUMBA_CACHE_DIR="$folder/kernels"
export QEMU_LD_PREFIX="$folder/root" TORCH_DEVICE_BACKEND_AUTOLOAD=0
exec qemu-aarch64-static "$folder/root/usr/bin/$python" "\$@"
EOF
    chmod +x "$folder/python"
}

if [ ! -e "$folder/python" ]; then
    python=$(apt-cache depends python3:arm64 | sed -n 's/.*Depends: \(python3\.[0-9]*\):arm64/\1/p')
    (unpack_python)
    install_packages
    write_launcher
fi
cd "$checkout"
exec "$folder/python" "$@"
