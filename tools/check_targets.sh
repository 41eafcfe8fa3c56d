#!/usr/bin/env bash
# Checks what a host, and a server, are built from against the real standard libraries of macOS and Windows.
#
# Debian's security archive has a newer Rust with its library's sources (rustc-web, rust-web-src), from which cargo
# builds the library of any target. C code is not compiled: a check links nothing, so its objects may be empty.
# Several minutes of processor time for each target the first time; nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PLACE="$PWD/target/targets"
readonly PACKAGES=(rustc-web libstd-rust-web-dev libstd-rust-web-1.96 rust-web-src libllvm22 binutils-mingw-w64-x86-64)
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(aarch64-apple-darwin x86_64-pc-windows-gnu)

if [ ! -e "$PLACE/fetched" ]; then
  rm -rf "$PLACE/root" && mkdir -p "$PLACE/packages" "$PLACE/stub"
  (cd "$PLACE/packages" && apt-get download -qq "${PACKAGES[@]}")
  for package in "$PLACE"/packages/*.deb; do
    dpkg -x "$package" "$PLACE/root"
  done
  rm -rf "$PLACE/packages"
  touch "$PLACE/fetched"
fi

cat > "$PLACE/stub/cc" <<'STUB'
#!/usr/bin/env bash
# Makes what is asked for, empty.
before=
for argument in "$@"; do
  [ "$before" = -o ] && : > "$argument"
  before=$argument
done
exit 0
STUB
cat > "$PLACE/stub/ar" <<'STUB'
#!/usr/bin/env bash
# Makes an archive of nothing.
for argument in "$@"; do
  case $argument in *.a | *.lib) printf '!<arch>\n' > "$argument" ;; esac
done
exit 0
STUB
chmod +x "$PLACE/stub/cc" "$PLACE/stub/ar"

rust="$PLACE/root/usr"
cargo="$(command -v cargo)"
export PATH="$rust/bin:$PATH" LD_LIBRARY_PATH="$rust/lib/x86_64-linux-gnu" RUSTC="$rust/bin/rustc"
# The sources of the library are used by a compiler that is not a nightly one.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$PLACE/build"
for target in "${targets[@]}"; do
  variable="${target//-/_}"
  export "CC_$variable=$PLACE/stub/cc" "CXX_$variable=$PLACE/stub/cc" "AR_$variable=$PLACE/stub/ar"
  echo "== $target"
  "$cargo" check -Zbuild-std=std,panic_abort --target "$target" -p cmdop-host -p cmdop-link
done
