# What the host's parts of the demos share: devices bound to vfio-pci, a KVM guest that has them,
# what is seen while it runs, and that nothing stays behind.
# Arguments: seed, MiB, kernel (ours or base). Every line is "check NAME ok|FAIL DETAIL" or "note TEXT".

seed=$1
mib=$2
kernel=$3
view=/sys/kernel/debug/powerpc/mm_iommu
caps=cap-htm=off,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off
failed=0
most=0 pinned=0 locked=0
as=	# what starts QEMU
: >/tmp/best

check()	# check NAME CONDITION DETAIL : its status is the condition's
{
	eval "$2" && echo "check $1 ok $3" && return
	echo "check $1 FAIL $3"
	failed=1
	return 1
}

# A column of the view, as a list; columns go by the header's names.
column()	# column NAME FILE
{
	awk -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }' "$2"
}

locked_kib()	# by the guest's QEMU
{
	sed -n 's/^VmLck:[^0-9]*\([0-9]*\).*/\1/p' /proc/$qemu/status 2>/dev/null
}

bind_devices()	# bind_devices NUMBER
{
	vfio_bind >/tmp/bound
	devices=$(sed 's/ .*//; s/^/-device vfio-pci,host=/' /tmp/bound)
	check vfio-bind '[ $(grep -c . /tmp/bound) = '$1' ]' \
		"$(sed 's/ / in IOMMU group /' /tmp/bound | tr '\n' ',') $(sed -n 's/^MMU[^:]*: //p' /proc/cpuinfo) host"
}

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

# Those that ended where the pattern says, of all
tce_ended()	# tce_ended PATTERN
{
	awk '/^tce_[a-z]*_'"$1"' / { n += $2 } END { print n + 0 }' /tmp/tce
}

# Windows that the guest's kernel had made, by its console
windows_made()
{
	grep -c 'ibm,create-pe-dma-window([0-9]*) .* returned 0 ' /host/tmp/console
}

start_guest()	# start_guest KERNEL-ARGUMENTS QEMU-ARGUMENT...
{
	local append=$1
	shift
	# In an LPAR the base loses the NVMe's first interrupts: it polls, after this time.
	[ $kernel != base ] || [ -e /proc/device-tree/ibm,opal ] || append="$append nvme_core.admin_timeout=1 nvme_core.io_timeout=1"
	: >/host/tmp/verdict
	: >/tmp/tce
	$as chroot /host qemu-system-ppc64 -nodefaults -display none -no-reboot \
		-M pseries,accel=kvm,$caps -cpu host -smp 1 \
		-serial file:/tmp/console \
		-chardev file,id=verdict,path=/tmp/verdict -device virtio-serial-pci \
		-device virtserialport,chardev=verdict,name=verdict \
		$devices "$@" \
		-kernel /host/t/vmlinux -initrd /host/t/guest-initrd \
		-append "console=hvc0 panic=-1 oops=panic $append" >&2 &
	qemu=$!
	seen=0
}

guest_lines()	# the guest's own lines, passed on as they come
{
	local n
	n=$(grep -c ^ /host/tmp/verdict)
	[ "$n" -le "$seen" ] || sed -n "$((seen + 1)),${n}s/^/note guest: /p" /host/tmp/verdict
	seen=$n
}

guest_runs()	# false when it has ended; else looks at all there is to see
{
	local p l
	guest_lines
	p=$(pins)
	[ "$p" -le "$pinned" ] || pinned=$p
	l=$(locked_kib)
	[ "${l:-0}" -le "$locked" ] || locked=$l
	if cat $view >/tmp/now 2>/dev/null; then
		m=$(column mapped /tmp/now | sort -n | tail -n 1)
		[ "${m:-0}" -le "$most" ] || { most=$m; cp /tmp/now /tmp/best; }
	fi
	tce_counts
	kill -0 $qemu 2>/dev/null
}

end_guest()	# waits for its end
{
	while guest_runs; do sleep 0.3; done
	wait $qemu
	status=$?
	sed 's/^/guest: /' /host/tmp/console >&2
	guest_lines
	guest=$(tail -n 1 /host/tmp/verdict)
	check "$1" '[ $status = 0 ] && [ "$guest" = "exit 0" ]' "QEMU ended with $status, guest with ${guest:-no verdict}"
	[ $kernel != base ] || return 0
	polled=$(grep -c 'completion polled' /host/tmp/console)
	check interrupts '[ $polled = 0 ]' "$polled NVMe commands whose interrupt did not come"
	echo "note TCE hypercalls in real mode + virtual mode + user space: $(tce_report)"
}

nothing_left()
{
	if [ $kernel != base ]; then
		check regions-view '[ -e $view ]' "$view"
		# the unpinning itself is deferred
		wait_for 20 '[ "$(grep -c ^ $view)" -le 1 ] && [ "$(pins)" = 0 ]'
		check regions-gone '[ "$(grep -c ^ $view)" -le 1 ]' "$(($(grep -c ^ $view) - 1)) left"
	else
		echo "note host: the base has no view of its regions"
		wait_for 20 '[ "$(pins)" = 0 ]'
	fi
	check pins-gone '[ "$(pins)" = 0 ]' "$(pins) pages still pinned"
	check process-gone '[ ! -e /proc/$qemu ]' "QEMU, process $qemu"
	l=$(cat /proc/[0-9]*/status 2>/dev/null | awk '/^VmLck:/ { n += $2 } END { print n + 0 }')
	check locked-gone '[ "$l" = 0 ]' "$l KiB locked by all processes"
}
