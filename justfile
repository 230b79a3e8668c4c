# Vigil: `npx just` lists every recipe; exit codes: 0 done, 1 the product is wrong, 2 usage, 3 this machine.
# Without `npx`: `node_modules/.bin/just`. Each recipe runs one script of scripts/, which has its own --help.

set positional-arguments
set quiet
set no-exit-message

ts := "node --import tsx"

# List the recipes
default:
    just --list --unsorted

# Build the image: kernel and services from AssemblyScript, packed into build/image; only what changed
build *ARGS: setup
    {{ ts }} scripts/build.ts "$@"

# Everything that must pass: lint, types, host tests, boots, canaries, determinism, bench (what npm test runs)
test *ARGS:
    node scripts/setup.mjs --test
    {{ ts }} scripts/test.ts "$@"

# Host tests alone, or the test files named: just test-host tests/gate/matcher.test.ts
test-host *ARGS: setup
    {{ ts }} scripts/test.ts --host "$@"

# Boot the image and check its proof ladder, on `modern` (the gate) or `legacy` (debug only) virtio
test-os *ARGS: setup
    {{ ts }} scripts/test-os.ts "$@"

# Show that the gate goes red for each mutant of the mutant image; just canary --only NAME
canary *ARGS: setup
    {{ ts }} scripts/canary.ts "$@"

# Boot N times (default: the script's) and compare the normalised transcripts byte by byte
determinism *ARGS: setup
    {{ ts }} scripts/determinism.ts "$@"

# Count instructions for each row of the budget table and compare with the golden file; writes build/bench.json
bench *ARGS: setup
    {{ ts }} scripts/bench.ts "$@"

# Find the commit that broke a marker: just bisect GOOD BAD [MARKER]
bisect *ARGS: setup
    {{ ts }} scripts/bisect.ts "$@"

# Boot in real time with the console in this terminal (leave QEMU with Ctrl-A x)
qemu *ARGS: setup
    {{ ts }} scripts/qemu.ts "$@"

# Boot halted and attach GDB with the kernel's symbols
gdb *ARGS: setup
    {{ ts }} scripts/gdb.ts "$@"

# Cut the power of the guest's disk N times and check everything acknowledged: just crash-test --runs 200 --seed random
crash-test *ARGS: setup
    {{ ts }} scripts/crash-test.ts "$@"

# A day of guest time at the highest accepted rates, every limit held: just soak --hours 1
soak *ARGS: setup
    {{ ts }} scripts/soak.ts "$@"

# Simulate power cuts of /state under Node: just crash-sim --crashes 1000000 --seed 7 --jobs 2
crash-sim *ARGS: setup
    {{ ts }} scripts/crash-sim.ts "$@"

# Look into what a machine left behind: just vigil state fsck .vigil/state.img
vigil *ARGS: setup
    {{ ts }} scripts/vigil.ts "$@"

# Make the tarball for machines with Node and QEMU and no compiler, in build/dist
dist *ARGS: setup
    {{ ts }} scripts/dist.ts "$@"

# What `vigil up` costs in steady state: CPU share and memory of each process, against the budget: just overhead --minutes 5
overhead *ARGS: setup
    {{ ts }} scripts/overhead.ts "$@"

# What this machine lacks, and the command that mends it
doctor *ARGS:
    node scripts/doctor.mjs "$@"

# Make a new service that boots: module, manifest entry, markers and a test
new-service *ARGS: setup
    {{ ts }} scripts/new-service.ts "$@"

# Write docs/syscalls/ and the tables of docs/operators/ anew from abi/*.toml
docs *ARGS: setup
    {{ ts }} scripts/docs.ts "$@"

# Remove what builds and boots wrote (build/, assembly/gen/); keeps node_modules
clean *ARGS:
    node scripts/clean.mjs "$@"

# Install what is missing on this machine; silent when nothing is
[private]
setup:
    node scripts/setup.mjs
