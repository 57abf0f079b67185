# What commands inside an emulated machine may use; read by /init before the command.

# KTAP of every KUnit suite that ran at boot (kunit.enable=1).
kunit_results()
{
	[ ! -d /sys/kernel/debug/kunit ] || find /sys/kernel/debug/kunit -name results -exec cat {} +
}

# Modules that came with the kernel, in this order; often there are none.
modules_load()
{
	local m
	while read -r m; do insmod "/m/$m" || return 1; done </m/load
}

# All of them, once their devices have been let go. Whoever still uses one is a failure.
modules_unload()
{
	local m d
	[ -s /m/load ] || return 0
	for d in /sys/bus/pci/drivers/vfio-pci/*:*; do
		[ ! -e "$d" ] || echo "${d##*/}" >/sys/bus/pci/drivers/vfio-pci/unbind
	done
	for m in $(tac /m/load); do rmmod "${m%.ko}" || return 1; done
}

# Until a condition holds; fails if that takes longer.
wait_for()	# wait_for SECONDS CONDITION
{
	local end=$(($(date +%s) + $1))
	until eval "$2"; do
		[ $(date +%s) -lt $end ] || return 1
		sleep 0.2
	done
}

# Bind every NVMe and NIC to vfio-pci; prints "PCI-address IOMMU-group" per device.
vfio_bind()
{
	local d a
	for d in /sys/bus/pci/devices/*; do
		case $(cat "$d/class") in 0x010802 | 0x020000) ;; *) continue ;; esac
		a=${d##*/}
		echo vfio-pci >"$d/driver_override"
		[ ! -e "$d/driver" ] || echo "$a" >"$d/driver/unbind"
		echo "$a" >/sys/bus/pci/drivers_probe
		[ "$(basename "$(readlink "$d/driver")")" = vfio-pci ] || return 1
		echo "$a $(basename "$(readlink "$d/iommu_group")")"
	done
}

# The same for programs: VFIO_DEVICES="address:group ..." and VFIO_SELFTESTS_BDF, the first address. On POWER8, our KVM
# serves hypercalls in real mode: that it does not is a failure then.
vfio_export()
{
	VFIO_DEVICES=$(vfio_bind | tr ' ' :)
	VFIO_SELFTESTS_BDF=$(echo "$VFIO_DEVICES" | sed -n '1s/:[0-9]*$//p')
	export VFIO_DEVICES VFIO_SELFTESTS_BDF
	! grep -q '^cpu.*POWER8' /proc/cpuinfo || export KVM_TCE_REAL_MODE=1
}

# Pages that are pinned now, of all processes.
pins()
{
	awk '/^nr_foll_pin_acquired/ { a = $2 } /^nr_foll_pin_released/ { r = $2 } END { print a - r }' /proc/vmstat
}

# A line of TAP; failed is set once one has failed.
n=0 failed=0
result()	# result STATUS NAME
{
	n=$((n + 1))
	[ "$1" = 0 ] && echo "ok $n $2" && return
	echo "not ok $n $2"
	failed=1
}

# What kmemleak (debug kernel) finds at the end; its summary on the console fails the run.
leaks()
{
	local f=/sys/kernel/debug/kmemleak
	[ -e $f ] || return 0
	sleep 6		# younger objects are not reported
	# twice: a first scan may meet a pointer on its way from place to place
	echo scan >$f
	echo scan >$f
	cat $f >&2
}

# What KCSAN did. Without watchpoints it has looked for nothing: that fails the run.
races()
{
	local f=/sys/kernel/debug/kcsan
	[ -e $f ] || return 0
	cat $f >&2
	grep -q '^setup_watchpoints: [1-9]' $f || echo 'WARNING: KCSAN has set no watchpoint' >&2
}

interactive()
{
	echo "On vfio-pci (address, group):"
	vfio_bind
	echo "Debian's QEMU: chroot /host. Ctrl-A x leaves."
	setsid cttyhack sh
}
