# The next kernel's part of the kexec scene: the device that a user had is the host's and works.
# Arguments: seed, MiB. Output as host.sh's.

failed=${failed:-0}
check()	# check NAME CONDITION DETAIL
{
	eval "$2" && echo "check $1 ok $3" && return
	echo "check $1 FAIL $3"
	failed=1
}

disk=/dev/nvme0n1
wait_for 60 "[ -b $disk ]"
check next-kernel '[ -b $disk ]' "$(cut -d' ' -f1 /proc/uptime) s up, $disk"
wrote=$(/t/pattern write $disk $1 $2)
echo 3 >/proc/sys/vm/drop_caches
read=$(/t/pattern check $disk $1 $2)
check disk '[ "$wrote" ] && [ "$wrote" = "$read" ]' "$2 MiB written and read back, checksum $read"
[ $failed = 0 ]
