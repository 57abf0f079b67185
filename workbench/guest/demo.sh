# The host's part of make demo: pass the NVMe to a KVM guest, watch its regions, see that
# nothing stays behind. Arguments: seed, MiB, kernel (ours or base). Every line is "check NAME ok|FAIL DETAIL"
# or "note TEXT".

seed=$1
mib=$2
kernel=$3
view=/sys/kernel/debug/powerpc/mm_iommu
caps=cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off
failed=0

check()	# check NAME CONDITION DETAIL
{
	if eval "$2"; then echo "check $1 ok $3"; else echo "check $1 FAIL $3"; failed=1; fi
}

pins()
{
	awk '/^nr_foll_pin_acquired/ { a = $2 } /^nr_foll_pin_released/ { r = $2 } END { print a - r }' /proc/vmstat
}

# the view's largest "mapped" count; columns go by the header's names
most_mapped()
{
	awk 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "mapped") c = i; next }
	     $c > most { most = $c } END { print most + 0 }' "$1"
}

line=$(vfio_bind)
addr=${line% *}
check vfio-bind '[ -n "$addr" ]' "NVMe $addr, IOMMU group ${line#* }, $(sed -n 's/^MMU[^:]*: //p' /proc/cpuinfo) host"

# What KVM says of the guest's TCE hypercalls, while there is a guest
tce_counts()
{
	set -- /sys/kernel/debug/kvm/*-*/tce_*
	[ -e "$1" ] || return 0
	for f; do echo "${f##*/} $(cat "$f")"; done >/tmp/tce.now 2>/dev/null
	[ "$(grep -c ' [0-9]' /tmp/tce.now)" != $# ] || cp /tmp/tce.now /tmp/tce
}

tce_report()
{
	awk '{ split($1, part, "_"); c[part[2] part[3]] = $2 }
	     END {
		n = split("put indirect stuff get", call, " ")
		for (i = 1; i <= n; i++) {
			printf "%s%s %d + %d + %d", comma, call[i], c[call[i] "rm"],
				c[call[i] "virt"], c[call[i] "user"]
			comma = ", "
		}
	     }' /tmp/tce
}

# per cent
tce_real_mode()
{
	awk '/_rm / { rm += $2 } /_(rm|virt|user) / { all += $2 } END { print all ? int(100 * rm / all) : 0 }' /tmp/tce
}

most=0 pinned=0 locked=0
: >/tmp/best

run_guest()	# run_guest KERNEL-ARGUMENTS : to its end
{
	: >/host/tmp/verdict
	: >/tmp/tce
	chroot /host qemu-system-ppc64 -nodefaults -display none -no-reboot \
		-M pseries,accel=kvm,$caps -cpu host -m 512M -smp 1 \
		-serial file:/tmp/console \
		-chardev file,id=verdict,path=/tmp/verdict -device virtio-serial-pci \
		-device virtserialport,chardev=verdict,name=verdict \
		-device vfio-pci,host=$addr \
		-kernel /host/t/vmlinux -initrd /host/t/guest-initrd \
		-append "console=hvc0 panic=-1 oops=panic $*" >&2 &
	qemu=$!

	# The guest's own lines are passed on as they come.
	seen=0
	while kill -0 $qemu 2>/dev/null; do
		n=$(grep -c ^ /host/tmp/verdict)
		[ "$n" -le "$seen" ] || sed -n "$((seen + 1)),${n}s/^/note guest: /p" /host/tmp/verdict
		seen=$n
		p=$(pins)
		[ "$p" -le "$pinned" ] || pinned=$p
		l=$(sed -n 's/^VmLck:[^0-9]*\([0-9]*\).*/\1/p' /proc/$qemu/status 2>/dev/null)
		[ "${l:-0}" -le "$locked" ] || locked=$l
		if cat $view >/tmp/now 2>/dev/null && [ "$(most_mapped /tmp/now)" -gt "$most" ]; then
			most=$(most_mapped /tmp/now)
			cp /tmp/now /tmp/best
		fi
		tce_counts
		sleep 0.3
	done
	wait $qemu
	status=$?
	sed 's/^/guest: /' /host/tmp/console >&2
	sed -n "$((seen + 1)),\$s/^/note guest: /p" /host/tmp/verdict
	guest=$(tail -n 1 /host/tmp/verdict)
}

run_guest
check guest '[ $status = 0 ] && [ "$guest" = "exit 0" ]' "QEMU ended with $status, guest with ${guest:-no verdict}"
if [ $kernel != base ]; then
	echo "note TCE hypercalls in real mode + virtual mode + user space: $(tce_report)"
	check hypercalls 'grep -q "_\(rm\|virt\) [1-9]" /tmp/tce' "served in KVM, $(tce_real_mode) % of them in real mode"
fi
if [ $kernel != base ] && grep -q "^MMU.*Hash" /proc/cpuinfo; then
	# No 64-bit window: each DMA is mapped and unmapped by hypercalls.
	run_guest disable_ddw
	check guest-32 '[ $status = 0 ] && [ "$guest" = "exit 0" ]' "the same with disable_ddw"
	echo "note TCE hypercalls with disable_ddw: $(tce_report)"
	check real-mode '[ "$(tce_real_mode)" -ge 95 ]' "$(tce_real_mode) % of these in real mode"
fi
check pinned '[ $pinned -ge 8192 ]' "up to $pinned pages pinned, $((locked / 1024)) MiB locked by the guest's QEMU"
if [ $kernel != base ]; then
	touch /tmp/best
	sed 's/^/note host: /' /tmp/best
	check regions '[ $most -gt 1 ]' "$(($(grep -c ^ /tmp/best) - 1)) seen, mapped up to $most"
	check regions-view '[ -e $view ]' "$view"
	# the unpinning itself is deferred
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(grep -c ^ $view)" -gt 1 ] || [ "$(pins)" != 0 ] || break
		sleep 0.5
	done
	check regions-gone '[ "$(grep -c ^ $view)" -le 1 ]' "$(($(grep -c ^ $view) - 1)) left"
else
	echo "note host: the base has no view of its regions"
	sleep 2
fi
check pins-gone '[ "$(pins)" = 0 ]' "$(pins) pages still pinned"
check process-gone '[ ! -e /proc/$qemu ]' "QEMU, process $qemu"
l=$(cat /proc/[0-9]*/status 2>/dev/null | awk '/^VmLck:/ { n += $2 } END { print n + 0 }')
check locked-gone '[ "$l" = 0 ]' "$l KiB locked by all processes"
exit $failed
