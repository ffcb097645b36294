# The build itself is meson's; this is the short way to it. Missing Debian packages are installed first.
#
#   make            builds into build/
#   make demo       two hosts on this machine, a guest, a disaster and a failover: about a minute
#   make test       runs all tests, once
#   make check      builds with every compiler found and runs all tests: those of parts in two builds, without and
#                   with AddressSanitizer and UBSan; those of whole programs, which take longer, in one of the two
#                   (tests/integration/meson.build)
#   make bench      measures
#   make install    installs what make built (DESTDIR and PREFIX as usual)
#   make clean      removes the build folders

PREFIX ?= /usr/local
MESON = meson setup --prefix $(PREFIX) --sysconfdir /etc --localstatedir /var
SANITIZE = -Db_sanitize=address,undefined -Db_lundef=false

.PHONY: all dependencies plain clang asan demo test check bench install clean

all: plain

dependencies:
	@scripts/install-dependencies

plain: dependencies
	@test -e build/build.ninja || $(MESON) build
	@ninja -C build

asan: dependencies
	@test -e build-asan/build.ninja || $(MESON) build-asan $(SANITIZE)
	@ninja -C build-asan

# A second compiler finds what the first one lets pass
clang: dependencies
	@if command -v clang >/dev/null; then \
	    { test -e build-clang/build.ninja || CC=clang $(MESON) build-clang; } && ninja -C build-clang; \
	else \
	    echo "clang is not installed: not built with it"; \
	fi

demo: plain
	@scripts/unprivileged tests/demo.py build

test: plain
	@meson test -C build --print-errorlogs

check: plain clang asan
	@status=0; \
	scripts/run-tests build --no-suite sanitized || status=1; \
	scripts/run-tests build-asan --no-suite plain || status=1; \
	exit $$status

bench: plain
	@if test -x tests/bench/run; then scripts/unprivileged tests/bench/run build; \
	else echo "There are no measurements in this version."; fi

install: plain
	@meson install -C build

clean:
	rm -rf build build-asan build-clang
