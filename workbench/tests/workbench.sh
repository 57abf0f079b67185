#!/bin/bash
# shellcheck disable=SC2319 # the status of a condition is what t wants
# The workbench's own promises: what must fail, fails, and says where.
# TAP on standard output.

. "$(dirname "$0")/../lib.sh"

w=$root/workbench
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

t()	# t NAME STATUS : STATUS 0 is a pass
{
	n=$((n + 1))
	if [ "$2" = 0 ]; then echo "ok $n $1"; else echo "not ok $n $1"; fi
}

boot()
{
	timeout 300 "$w/boot" --smp 1 --out "$tmp/run" "$@" >"$tmp/out" 2>"$tmp/err"
}

rc=0; boot -- 'echo hello; false' || rc=$?
t "boot: a failing command gives 1" "$([ $rc = 1 ] && grep -qx hello "$tmp/out"; echo $?)"
rc=0; boot -- 'echo "WARNING: made up" >/dev/kmsg' || rc=$?
t "boot: a complaint on the console gives 2" "$([ $rc = 2 ] && grep -q 'made up' "$tmp/err"; echo $?)"
rc=0; boot -- 'echo c >/proc/sysrq-trigger' || rc=$?
t "boot: a panic gives 3" "$([ $rc = 3 ]; echo $?)"
rc=0; boot --timeout 8 -- 'sleep 100' || rc=$?
t "boot: a hang gives 3" "$([ $rc = 3 ] && grep -q 'no verdict after' "$tmp/err"; echo $?)"
# A firmware of one instruction, a branch to itself.
printf 'H\0\0\0' >"$tmp/firmware"
rc=0; boot --firmware-quiet 2 --qemu "-bios $tmp/firmware" -- true || rc=$?
t "boot: a firmware that hangs is started five times, and said" \
	"$([ $rc = 3 ] && [ "$(grep -c 'the firmware came to no end' "$tmp/err")" = 5 ] &&
	   [ "$(grep -c ': once more' "$tmp/err")" = 4 ]; echo $?)"

# An emulator that dies before the kernel, the first two times
cat >"$tmp/qemu-system-ppc64" <<'P'
#!/bin/bash
cd "$(dirname "$0")" || exit
echo >>tries
[ "$(grep -c ^ tries)" -gt 2 ] && exec "$REAL_QEMU" "$@"
for a; do case $a in file:*) echo firmware >"${a#file:}" ;; esac; done
kill -ABRT $$
P
chmod +x "$tmp/qemu-system-ppc64"
rc=0; REAL_QEMU=$(command -v qemu-system-ppc64) QEMU="" PATH=$tmp:$PATH boot -- 'echo hello' || rc=$?
t "boot: an emulator that dies in the firmware is started again" \
	"$([ $rc = 0 ] && grep -qx hello "$tmp/out" && [ "$(grep -c ': once more' "$tmp/err")" = 2 ]; echo $?)"

# An emulator whose host dies by a machine check, in OPAL or in the kernel
cat >"$tmp/qemu-system-ppc64" <<'P'
#!/bin/bash
for a; do case $a in file:*) log=${a#file:} ;; esac; done
cat >"$log" <<L
INIT: Starting kernel
[    1.000000] Kernel panic - not syncing: Unrecoverable Machine Check exception
[    1.000001] NIP:  $NIP LR: 000000003002d5c0 CTR: 0000000000000000
L
exit 1
P
in_opal() { NIP=$1 QEMU="" PATH=$tmp:$PATH boot -- true || [ $? = 3 ] && grep -q '^boot: QEMU failed: ' "$tmp/err"; }
t "boot: a machine check in OPAL is QEMU's failure" "$(in_opal 000000003002d8e4; echo $?)"
t "boot: a machine check elsewhere is not" "$(! in_opal c00000003002d8e4; echo $?)"

# The same with two CPUs, where the kernel says whose it was: it dies, or a process does, as the verdict says
cat >"$tmp/qemu-system-ppc64" <<'P'
#!/bin/bash
for a; do case $a in file:*) log=${a#file:} ;; file,id=verdict,path=*) verdict=${a#*path=} ;; esac; done
cat >"$log" <<L
INIT: Starting kernel
$BEFORE
[    1.000000] MCE: CPU1: machine check (Severe)  Real address Load (bad)  [Not recovered]
[    1.000001] MCE: CPU1: $WHERE
L
if [ -n "$SAYS" ]; then
	echo "$SAYS" >"$verdict"
else
	echo "[    1.000002] Kernel panic - not syncing: Unrecoverable Machine Check exception" >>"$log"
fi
exit 1
P
machine_check()	# machine_check WHERE [SAYS [BEFORE [OPTION...]]]: is it QEMU's failure?
{
	WHERE=$1 SAYS=${2:-} BEFORE=${3:-} QEMU="" PATH=$tmp:$PATH boot --smp 2 "${@:4}" -- true || true
	grep -q '^boot: QEMU failed: a machine check in ' "$tmp/err"
}
xive='NIP: [c0000000000a1234] xive_esb_read+0x44/0x90'
ours='NIP: [c0000000000a1234] pnv_pci_phb3_tce_invalidate+0x44/0x90'
process='PID: 77 Comm: vfio_test NIP: [0000000010002a50]'
killed=$'# stays: Test terminated unexpectedly by signal 7\nnot ok 1 live.v1.stays'
t "boot: a machine check at the interrupt controller, or of a process, is QEMU's failure" \
	"$(machine_check "$xive" && machine_check "$process" && machine_check "$process" "$killed"$'\nexit 1'; echo $?)"
t "boot: with one CPU, in our code, or after another failure or complaint it is not" \
	"$(! machine_check "$xive" '' '' --smp 1 && ! machine_check "$ours" && ! machine_check "$xive" '' 'WARNING: made up' &&
	   ! machine_check "$process" "$killed"$'\nnot ok 2 live.v1.goes\nexit 1' &&
	   ! machine_check "$process" $'not ok 1 live.v1.stays\nexit 1'; echo $?)"

# A clone of the workbench, over the same base, with one hook that cannot apply.
made=$tmp/tree/${build#"$root/"}
mkdir -p "$made/src" "$tmp/tree/base/hooks"
cp -r "$w" "$tmp/tree/workbench"
cp -r "$root"/base/[0-9]* "$tmp/tree/base/"
rm -f "$tmp"/tree/base/*/series
ln -s "$build/src/base" "$made/src/base"
cp "$build/src/base.stamp" "$made/src/"
echo 0001-never.patch >"$tmp/tree/base/series"
cat >"$tmp/tree/base/hooks/0001-never.patch" <<'P'
--- a/mm/gup.c
+++ b/mm/gup.c
@@ -1,3 +1,3 @@
 nothing of this
-stands in
+was ever in
 that file
P
rc=0; BASE_SRC='' "$tmp/tree/workbench/prepare" >"$tmp/out" 2>"$tmp/err" || rc=$?
t "prepare: a hook that does not apply is named with its file and hunk, nothing is made" \
	"$([ $rc != 0 ] && grep -q '0001-never.patch' "$tmp/err" && grep -q 'mm/gup.c: Hunk #1' "$tmp/err" &&
	   [ ! -e "$made/src/ours" ]; echo $?)"

echo CONFIG_NO_SUCH_OPTION=y >>"$tmp/tree/workbench/config/common.config"
rc=0; BASE_SRC='' "$tmp/tree/workbench/kernel" base >"$tmp/out" 2>"$tmp/err" || rc=$?
t "kernel: an option that is not on in the result is named" \
	"$([ $rc != 0 ] && grep -q 'common.config: asked for CONFIG_NO_SUCH_OPTION=y, got n' "$tmp/err"; echo $?)"

# Bases and who signs
mkdir "$tmp/k"
printf 'VERSION = 5\nPATCHLEVEL = 10\n' >"$tmp/k/Makefile"
rc=0; BASE='' BASE_SRC=$tmp/k "$w/base" >"$tmp/out" 2>"$tmp/err" || rc=$?
t "base: a tree of a version without hooks is refused, and its version said" \
	"$([ $rc != 0 ] && grep -q 'is Linux 5.10; there are hooks for: ' "$tmp/err"; echo $?)"

sed -i 's/^SUITE=.*/SUITE=no-such-suite/' "$tmp/tree/base/7.x/KERNEL"
rc=0; BASE=7.x BASE_SRC='' "$tmp/tree/workbench/prepare" base >"$tmp/out" 2>"$tmp/err" || rc=$?
t "prepare: a base that the mirror lacks gives 4, and is said" \
	"$([ $rc = 4 ] && grep -q 'can not be had from no-such-suite' "$tmp/err"; echo $?)"

rc=0; GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=Somebody \
	GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=somebody@localhost DRAFT='' "$w/patches" >"$tmp/out" 2>&1 || rc=$?
t "patches: nobody signs with a placeholder" "$([ $rc != 0 ] && grep -q 'who signs?' "$tmp/out"; echo $?)"

echo "1..$n"
