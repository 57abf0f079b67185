# Modules of ours are loaded, used and removed, over and over: nothing may stay behind, and nobody may
# call what is gone. TAP on standard output; the programs' own on the console. Arguments: of the KVM tests.

view=/sys/kernel/debug/powerpc/mm_iommu

t()	# t NAME COMMAND...
{
	local name=$1 status=0
	shift
	"$@" >&2 || status=1
	result $status "$name"
}

clean()
{
	local i
	# regions are unpinned by a worker
	for i in 1 2 3 4 5 6 7 8 9 10; do
		[ "$(pins)" != 0 ] || [ "$(grep -c ^ $view)" -gt 1 ] || return 0
		sleep 0.5
	done
	grep foll_pin /proc/vmstat
	cat $view
	return 1
}

gone() { modules_unload && ! grep -E '^(kvm|vfio)' /proc/modules; }

# Remove and load one while a program uses it, on and off: the program may fail, the kernel must not.
restless()	# restless MODULE COMMAND...
{
	local file=$1.ko m pid times=0
	m=$(echo "$1" | tr - _)
	shift
	"$@" >/dev/null 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		# mostly it is in use, and stays
		if rmmod "$m" 2>/dev/null; then
			times=$((times + 1))
			insmod "/m/$file" || break
		fi
	done
	wait $pid
	echo "$m: removed $times times under $1"
	grep "^$m " /proc/modules
}

for life in first second; do
	vfio_export
	t "$life.regions" /t/vfio_spapr_tce_region_test
	t "$life.vfio" /t/vfio_spapr_tce_test -F largest -F beyond -F sparse
	t "$life.kvm" /t/vfio_spapr_kvm_test -T indirect_poison -f tce -f vm
	t "$life.stress_vfio" restless vfio_iommu_spapr_tce /t/vfio_spapr_tce_stress -t 10
	t "$life.stress_kvm" restless kvm-hv /t/vfio_spapr_kvm_test -f stress
	t "$life.unload" gone
	t "$life.clean" clean
	t "$life.load" modules_load
done
echo "1..$n"
[ $failed = 0 ]
