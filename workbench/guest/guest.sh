# The guest's part of make demo: move the pattern through the passed-through NVMe.
# Arguments: seed, MiB.

disk=/dev/nvme0n1
for i in 1 2 3 4 5 6 7 8 9 10; do [ -b $disk ] || sleep 0.5; done
[ -b $disk ] || { echo "no $disk"; exit 1; }
wrote=$(/t/pattern write $disk $1 $2) || exit 1
echo "wrote $2 MiB, checksum $wrote"
echo 3 >/proc/sys/vm/drop_caches
read=$(/t/pattern check $disk $1 $2) || exit 1
echo "read it back, checksum $read"
[ "$wrote" = "$read" ]
