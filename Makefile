# The front door. Meson builds; every target installs what it misses (Debian's apt-get) and says so.

BUILD ?= build
MESON_FLAGS ?=
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))

.PHONY: all run test test-lab test-nics lint fuzz bench install clean help deps-build deps-test

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

help:
	@echo "make          build $(BUILD)/vireo"
	@echo "make run      the main job: probe, the built-in guest, a stock Debian kernel"
	@echo "make test     every test; ends with 'N passed, N failed, N skipped'"
	@echo "make test-lab  every Linux guest of the tests; test has some of them"
	@echo "make test-nics  the emulated NICs under their stock Linux drivers, at length"
	@echo "make lint     formatting, static analysis, layers, shell scripts"
	@echo "make fuzz     fuzz each parser and device for FUZZ_SECONDS (default 60)"
	@echo "make bench    the speed of vireo, beside QEMU's on this host"
	@echo "make install  to DESTDIR/PREFIX (default /usr/local)"

$(BUILD)/build.ninja: | deps-build
	@meson setup $(BUILD) $(ROOT) $(if $(CI),--werror) $(MESON_FLAGS)

deps-build:
	@tools/deps build
deps-test:
	@tools/deps build test

run: deps-test all
	@tools/run-main $(BUILD)

test: deps-test all
	@tests/run $(BUILD)

test-lab: deps-test all
	@tests/run $(BUILD) lab

test-nics: deps-test all
	@tests/run $(BUILD) nics

lint: deps-test all
	@tests/lint $(BUILD)

fuzz: deps-test
	@tests/fuzz/run $(BUILD)-fuzz --seconds $${FUZZ_SECONDS:-60}

bench: deps-test all
	@bench/run $(BUILD)

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz
