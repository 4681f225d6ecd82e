# nic_checks.sh - what the tests look at from inside a guest with an emulated card; read by linux_checks.sh.
#
# shellcheck shell=dash
# shellcheck disable=SC2154,SC2317	# $host is in linux_checks.sh; each function is called by its name
#
# The guest leads: what it wants of the host it asks for on its console, and reads the answer there, which works
# without a network, too. lab_nics.py answers, or nic_host.py does for it.

stty -echo 2> /dev/null	# an answer is seen once
mac=52:54:00:12:34:56	# the host's end: see lab_nics.py
data=/dev/shm/data	# a MiB

ip()
{
	/tests/ip "$@"
}

# What the host says is in $answer, too.
ask()
{
	echo "vireo-ask: $*"
	read -r answer
	echo "$answer"
}

# Waits until device $2 has a carrier, or has none.
carrier()
{
	local n=0 from to
	read -r from _ < /proc/uptime
	while [ "$(cat "/sys/class/net/$2/carrier" 2> /dev/null)" != "$1" ] && [ $n -lt 300 ]; do
		n=$((n + 1))
		sleep 0.05
	done
	read -r to _ < /proc/uptime
	echo "$2: carrier=$(cat "/sys/class/net/$2/carrier") from $from to $to"
}

# Sets a device up as it is at the beginning.
setup()
{
	ip link set eth0 up && ip address replace 10.0.0.2/24 dev eth0 &&
		ip neighbour replace "$host" lladdr $mac dev eth0 nud permanent
}

nic()
{
	local device
	device=$(readlink -f "/sys/class/net/${1:-eth0}/device")
	carrier 1 "${1:-eth0}"
	ethtool -i "${1:-eth0}"
	echo "address: $(cat "/sys/class/net/${1:-eth0}/address")"
	ethtool "${1:-eth0}" 2> /dev/null
	lspci -n -k -s "${device##*/}" 2> /dev/null
}

# Echo requests from the host, of these sizes.
sweep()
{
	ask ping 10.0.0.2 "$@"
	case $answer in
	*lost=0*) ;;
	*) grep -E "Ip|Icmp" /proc/net/snmp; ip -s -s link show dev eth0; ethtool -S eth0 | grep -v ": 0"
	   cat /proc/net/softnet_stat ;;
	esac
}

# The guest's own, one of them in fragments.
pings()
{
	local size bad=0
	for size in 1 18 1472 8000; do
		ping -q -A -c 3 -W 20 -s "$size" "$host" || bad=1
	done
	return $bad
}

# TCP of so many MiB to the host, and from it, with checksums, in rounds of $2 MiB. The connection's other end is $3.
# By itself nc would read and write a KiB at a time, each of which is a frame of its own.
# shellcheck disable=SC2016	# what the inner shells expand
stream()
{
	local left=$1 round=$2
	[ -e $data ] || head -c 1048576 /dev/urandom > $data
	echo "mib=$(md5sum < $data)"
	while [ "$left" -gt 0 ]; do
		[ "$left" -ge "$round" ] || round=$left
		left=$((left - round))
		nc "${3:-$host}" 7001 -e sh -c '
			echo "$2"
			for n in $(seq "$2"); do
				cat "$1"
			done
			read -r answer
			echo "$answer" >&3' push $data "$round" 3>&1
		nc "${3:-$host}" 7002 -e sh -c '
			echo "$1"
			echo "round=$1 from=$(md5sum)" >&3' pull "$round" 3>&1
	done
	read -r now _ < /proc/uptime
	echo "at $now"
}

# Which of the host's frames come in, in each of four states of the filter.
filter()
{
	local tag tcpdump
	: > /dev/shm/frames.err
	tcpdump -Z root -p -l -e -n -i eth0 'ether proto 0x88b5' > /dev/shm/frames 2> /dev/shm/frames.err &
	tcpdump=$!
	until grep -q 'listening on' /dev/shm/frames.err; do
		sleep 0.05
	done
	for tag in 01 02 03 04; do
		case $tag in
		02) ip maddress add 01:00:5e:01:02:03 dev eth0 ;;
		03) ip link set eth0 allmulticast on ;;
		04) ip link set eth0 allmulticast off; ip link set eth0 promisc on ;;
		esac
		sleep 0.1	# a command of the driver's may be under way
		ask frames t0 $tag
		seen 02:00:00:00:00:$tag
	done
	kill $tcpdump
	ip link set eth0 promisc off
	ip maddress del 01:00:5e:01:02:03 dev eth0
	sed -nE 's/^.* (02:00:00:00:00:..) > ([^ ,]*),.*/\1 > \2/p' /dev/shm/frames | sort | uniq -c
}

# Waits for the last of the frames from $1.
seen()
{
	local n=0
	until [ "$(grep -c " $1 > 52:54:" /dev/shm/frames)" -ge 3 ] || [ $n -gt 200 ]; do
		n=$((n + 1))
		sleep 0.05
	done
}

# Frames of the largest size: $1 is the MTU, $2... what to send.
mtu()
{
	local largest=$1
	shift
	echo "above: $(ip link set eth0 mtu $((largest + 1)) 2>&1)"
	ask mtu "$largest"
	ip link set eth0 mtu "$largest" && carrier 1 eth0 && ask ping 10.0.0.2 "$@" && stream 2 2
	ask mtu lock 1500
	ip link set eth0 mtu 1500 && carrier 1 eth0
}

vlan()
{
	modprobe 8021q && ip link add link eth0 name v5 type vlan id 5 &&
		ip address add 10.0.5.2/24 dev v5 && ip link set v5 up && carrier 1 v5 || return
	ask ping 10.0.5.2 1-1472/97 1470-1472
	stream 1 1 10.0.5.1
	ip link delete v5
}

# The cable out and in under traffic. none: the driver doesn't look at it.
link()
{
	local n iperf
	TMPDIR=/dev/shm iperf3 -c "$host" -t 20 -f m --bidir -i 0 > /dev/null 2>&1 &
	iperf=$!
	sleep 1
	for n in 1 2; do
		ask link off
		[ "$1" = none ] || carrier 0 eth0
		ping -q -c 1 -W 1 "$host"
		ask link on
		carrier 1 eth0
		ping -q -A -c 3 -W 20 "$host"
	done
	kill $iperf
	wait
	ask quiet
}

selftest()
{
	ethtool -t eth0 "$@"
	echo "selftest=$?"
	carrier 1 eth0
	ping -q -A -c 3 -W 20 "$host"
}

# What the card, its driver, the TAP and vireo have counted of the same frames: with the device down before and
# after, they are all.
counters()
{
	local name
	modprobe -r "$1"
	modprobe "$1" || return
	ask counters
	setup
	carrier 1 eth0
	ethtool -S eth0 2> /dev/null | sed 's/^/before: /'
	ask ping 10.0.0.2 1-1472/13
	ping -q -A -c 20 -W 20 -s 700 "$host"
	ethtool -S eth0 2> /dev/null
	ip link set eth0 down
	for name in rx_packets tx_packets rx_bytes tx_bytes rx_errors tx_errors rx_dropped tx_dropped collisions; do
		echo "$name=$(cat /sys/class/net/eth0/statistics/$name)"
	done
	ask counters
	setup
	carrier 1 eth0
}

# Cards eth0... beside each other: TCP of $2, $3... MiB both ways over each, while the driver ($1) of the last one comes
# and goes, and at the end echo requests for each.
together()
{
	local module=$1 n=0 last mib jobs=""
	shift
	while [ -e /sys/class/net/eth$n ]; do
		carrier 1 eth$n
		ethtool -i eth$n | grep driver
		echo "address: $(cat /sys/class/net/eth$n/address)"
		n=$((n + 1))
	done
	last=$((n - 1))
	[ -e $data ] || head -c 1048576 /dev/urandom > $data
	n=0
	for mib in "$@"; do
		stream "$mib" 4 10.0.$n.1 > /dev/shm/stream$n 2>&1 &
		jobs="$jobs $!"
		n=$((n + 1))
	done
	for n in 1 2 3; do
		stream 1 1 10.0.$last.1 > /dev/shm/stream$last 2>&1
		modprobe -r "$module"
		modprobe "$module" && ip link set eth$last up && ip address replace 10.0.$last.2/24 dev eth$last || return
		carrier 1 eth$last
	done
	stream 1 1 10.0.$last.1 > /dev/shm/stream$last 2>&1
	# shellcheck disable=SC2086 # a list
	wait $jobs
	for n in $(seq 0 $last); do
		echo "card $n"
		cat "/dev/shm/stream$n"
		ask ping "10.0.$n.2" 1-1472/31
	done
	cat /proc/interrupts
}

# What the guest sends where something is done under traffic.
send()
{
	while :; do
		ping -q -A -c 1000 -w 5 -s 1000 "$host"
		sleep 0.1
	done > /dev/null 2>&1
}

# The driver $1 unloaded and loaded $2 times under traffic: $3 frames a second, and the guest's own. Only each $4th time
# it is waited for: the others find it at whatever it does in between.
reloads()
{
	local n=0 bad=0 send
	ask flood "$3"
	send &
	send=$!
	while [ $n -lt "$2" ]; do
		n=$((n + 1))
		modprobe -r "$1"
		grep -q "^$1 " /proc/modules && echo "$1 is still there" && bad=1
		modprobe "$1" && setup || bad=1
		if [ $((n % $4)) = 0 ]; then
			carrier 1 eth0
			ping -q -A -c 3 -W 20 "$host" && echo "it works" || bad=1
		else
			sleep 0.1
		fi
	done
	kill $send
	killall ping
	ask flood 0
	echo "loaded $n times"
	grep eth0 /proc/interrupts
	return $bad
}

# Starts the guest again, with no word to its drivers, while frames come and go. Of its checks, the first run does
# those before this one, the second those behind it.
restart()
{
	if has_restarted; then
		ask flood 0
		return
	fi
	echo started | dd of=/dev/vda bs=512 conv=sync,fsync 2> /dev/null
	ask flood "$1"
	send &
	sleep 0.5
	echo "restarting"
	echo b > /proc/sysrq-trigger
	sleep 60
}

has_restarted()
{
	[ "$(dd if=/dev/vda bs=7 count=1 2> /dev/null)" = started ]
}

# UDP at port 7003 that comes in by card $1, and what the guest's kernel counts of it: $2 passes over each datagram are the
# reader's work, $3 is what a socket may hold. $4... is what the host is asked for meanwhile.
udp()
{
	local card=$1 passes=$2 reader n=0 before
	ip link set "eth$card" up
	ip address replace "10.0.$card.2/24" dev "eth$card"
	ip neighbour replace "10.0.$card.1" lladdr $mac dev "eth$card" nud permanent
	carrier 1 "eth$card"
	echo "$3" > /proc/sys/net/core/rmem_default
	shift 3
	/tests/udp take 7003 "$passes" &
	reader=$!
	until grep -q ':1B5B ' /proc/net/udp; do
		sleep 0.05
	done
	grep '^Udp:' /proc/net/snmp | sed 's/^Udp:/before:/'
	ask "$@"
	# Until nothing has come for a while, and nothing waits.
	while [ $n -lt 5 ]; do
		n=$((n + 1))
		[ "$(cat /proc/net/snmp)" = "$before" ] && grep -q ':1B5B .* 00000000:00000000 ' /proc/net/udp || n=0
		before=$(cat /proc/net/snmp)
		sleep 0.1
	done
	grep '^Udp:' /proc/net/snmp | sed 's/^Udp:/after:/'
	kill $reader
	wait $reader
	ask "counted $card"
}
