# The guest's part of the plug demo: DMA all the time, also in memory that is plugged, while it is
# online and while it goes. Arguments: seed, MiB; $plugs on the kernel's command line.

disk=/dev/nvme0n1
blocks=/sys/devices/system/memory

online()
{
	cat $blocks/memory*/state | grep -c ^online
}

# Round after round; one that finds an address in /tmp/above has its buffer there or above.
dma()
{
	local n=0 above
	while [ ! -e /tmp/stop ]; do
		n=$((n + 1))
		above=$(cat /tmp/above 2>/dev/null)
		/t/pattern write $disk $(($1 + n)) $2 $above >/dev/null &&
			/t/pattern check $disk $(($1 + n)) $2 $above >/dev/null || { : >/tmp/failed; return; }
		[ ! "$above" ] || rm /tmp/above
		echo $n >/tmp/rounds
	done
}

until_true()	# until_true CONDITION WHAT
{
	wait_for 100 "[ -e /tmp/failed ] || $1" && [ ! -e /tmp/failed ] && return
	echo "$2: $([ -e /tmp/failed ] && echo "DMA failed" || echo "not in time")"
	exit 1
}

plugged()	# waits for memory and does a round of DMA in it
{
	until_true '[ $(online) -gt $old ]' "plug $1"
	last=$(ls -d $blocks/memory* | sed 's/.*memory//' | sort -n | tail -n 1)
	echo $((last * 0x$(cat $blocks/block_size_bytes))) >/tmp/above
	until_true '[ ! -e /tmp/above ]' "DMA in plug $1"
	echo "plugged $1: $(online) blocks of 0x$(cat $blocks/block_size_bytes), $(cat /tmp/rounds) rounds of DMA"
}

wait_for 30 "[ -b $disk ]" || { echo "no $disk"; exit 1; }
old=$(online)
dma $1 $2 &
until_true '[ -e /tmp/rounds ]' "DMA"
echo "ready: $old blocks"
i=0
while [ $((i = i + 1)) -le $plugs ]; do
	plugged $i
	until_true '[ $(online) = $old ]' "pull $i"
	echo "pulled $i: $(online) blocks, $(cat /tmp/rounds) rounds of DMA"
done
plugged $i
: >/tmp/stop
wait
[ ! -e /tmp/failed ] || { echo "DMA failed"; exit 1; }
wrote=$(/t/pattern write $disk $1 $2) || exit 1
read=$(/t/pattern check $disk $1 $2) || exit 1
echo "after $(cat /tmp/rounds) rounds $2 MiB, checksum $read"
[ "$wrote" = "$read" ]
