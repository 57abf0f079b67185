# The guest's part of the memlock demo: move the pattern through both emulated NVMes. Arguments: seed, MiB.

for disk in /dev/nvme0n1 /dev/nvme1n1; do
	wait_for 30 "[ -b $disk ]" || { echo "no $disk"; exit 1; }
	wrote=$(/t/pattern write $disk $1 $2) || exit 1
	echo 3 >/proc/sys/vm/drop_caches
	read=$(/t/pattern check $disk $1 $2) || exit 1
	echo "$disk: wrote $2 MiB and read it back, checksum $read"
	[ "$wrote" = "$read" ] || exit 1
done
