/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_packet.h - finds the ports of a TCP packet and changes them.
 *
 * Bytes are copied, not pointed at: the header may lie in any fragment of the buffer, and behind any
 * number of options.
 */
#ifndef SWERVE_PACKET_H
#define SWERVE_PACKET_H

#include "swerve_lookup.h"
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stddef.h>

/* Extension headers that are followed; real packets have one or two. */
#define SWERVE_EXTENSION_HEADERS 8

#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

enum swerve_parsed {
	SWERVE_PARSED_PORTS, /* all fields of the packet are set */
	SWERVE_PARSED_OTHER, /* not TCP, not whole, or the later part of a fragmented packet */
	/*
	 * TCP perhaps, but its ports or flags are out of sight: a first fragment without the whole
	 * header (RFC 1858), or more extension headers than anybody needs.
	 */
	SWERVE_PARSED_HIDDEN,
};

/* A TCP packet, or the one that an ICMP error quotes. */
struct swerve_packet {
	struct swerve_addr source;
	struct swerve_addr destination;
	__u16 source_port; /* network order */
	__u16 destination_port; /* network order */
	__u32 protocol;
	__u32 transport; /* where the header behind IP's begins */
	__u32 checksum; /* where the checksum is that covers the ports */
	bool is_fragment;
	bool is_syn; /* the first packet of a connection */
	bool is_quoted;
};

/* The same in every extension header but the fragment's, which has no length. */
struct swerve_extension {
	__u8 next;
	__u8 length; /* in units of eight bytes, the first not counted */
	__be16 fragment;
};

/* The first four bytes of ICMP, either version, and the size of what comes before the quote. */
struct swerve_icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
};

#define SWERVE_ICMP_SIZE 8

/* linux/icmp.h would bring the C library with it. */
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

static __always_inline enum swerve_parsed swerve_parse_ipv4(struct __sk_buff *ctx, __u32 offset,
							    struct swerve_packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(ctx, offset, &ip, sizeof(ip)) ||
	    (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET)))
		return SWERVE_PARSED_OTHER;
	swerve_map_ipv4(&packet->source, ip.saddr);
	swerve_map_ipv4(&packet->destination, ip.daddr);
	packet->is_fragment = ip.frag_off & bpf_htons(IP_MORE_FRAGMENTS);
	packet->protocol = ip.protocol;
	packet->transport = offset + ip.ihl * 4;
	return SWERVE_PARSED_PORTS;
}

static __always_inline bool swerve_is_extension(__u32 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT;
}

/* Follows the extension headers from packet->transport on. */
static __always_inline enum swerve_parsed swerve_skip_extensions(struct __sk_buff *ctx,
								 struct swerve_packet *packet)
{
	struct swerve_extension extension;
	__u32 i;

	/* Linux 5.10 follows a loop only if its last instruction jumps, which the compiler decides. */
#pragma unroll
	for (i = 0; i < SWERVE_EXTENSION_HEADERS; i++) {
		if (!swerve_is_extension(packet->protocol))
			return SWERVE_PARSED_PORTS;
		if (bpf_skb_load_bytes(ctx, packet->transport, &extension, sizeof(extension)))
			return packet->is_fragment ? SWERVE_PARSED_HIDDEN : SWERVE_PARSED_OTHER;
		packet->transport += 8;
		if (packet->protocol != IPPROTO_FRAGMENT) {
			packet->transport += extension.length * 8;
		} else {
			if (extension.fragment & bpf_htons(IPV6_FRAGMENT_OFFSET))
				return SWERVE_PARSED_OTHER;
			if (extension.fragment & bpf_htons(IPV6_MORE_FRAGMENTS))
				packet->is_fragment = true;
		}
		packet->protocol = extension.next;
	}
	return swerve_is_extension(packet->protocol) ? SWERVE_PARSED_HIDDEN : SWERVE_PARSED_PORTS;
}

static __always_inline enum swerve_parsed swerve_parse_ipv6(struct __sk_buff *ctx, __u32 offset,
							    struct swerve_packet *packet)
{
	struct ipv6hdr ip;

	if (bpf_skb_load_bytes(ctx, offset, &ip, sizeof(ip)))
		return SWERVE_PARSED_OTHER;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(packet->destination));
	packet->protocol = ip.nexthdr;
	packet->transport = offset + sizeof(ip);
	return swerve_skip_extensions(ctx, packet);
}

/* One copy in the program, for there are two headers to read: the packet's and a quoted one's. */
static __attribute__((noinline)) int swerve_parse_ip(struct __sk_buff *ctx, __u32 offset,
						     struct swerve_packet *packet)
{
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return swerve_parse_ipv4(ctx, offset, packet);
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return swerve_parse_ipv6(ctx, offset, packet);
	return SWERVE_PARSED_OTHER;
}

static __always_inline enum swerve_parsed swerve_parse_tcp(struct __sk_buff *ctx,
							   struct swerve_packet *packet)
{
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(ctx, packet->transport, &tcp, sizeof(tcp)))
		return packet->is_fragment ? SWERVE_PARSED_HIDDEN : SWERVE_PARSED_OTHER;
	packet->source_port = tcp.source;
	packet->destination_port = tcp.dest;
	packet->checksum = packet->transport + offsetof(struct tcphdr, check);
	packet->is_syn = tcp.syn && !tcp.ack;
	return SWERVE_PARSED_PORTS;
}

static __always_inline bool swerve_is_icmp_error(__u32 protocol, __u8 type)
{
	if (protocol == IPPROTO_ICMPV6)
		return type < 128; /* RFC 4443 section 2.1 */
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETERPROB;
}

/*
 * Reads the packet that an error is about: the sender must find its connection by it, or it never
 * learns that its packets are too big. Only eight bytes of TCP need be there.
 */
static __always_inline enum swerve_parsed swerve_parse_icmp(struct __sk_buff *ctx,
							    struct swerve_packet *packet)
{
	__u32 start = packet->transport, protocol = packet->protocol;
	struct swerve_icmp icmp;
	__u16 ports[2];

	if (bpf_skb_load_bytes(ctx, start, &icmp, sizeof(icmp)) ||
	    !swerve_is_icmp_error(protocol, icmp.type))
		return SWERVE_PARSED_OTHER;
	if (swerve_parse_ip(ctx, start + SWERVE_ICMP_SIZE, packet) != SWERVE_PARSED_PORTS ||
	    packet->protocol != IPPROTO_TCP)
		return SWERVE_PARSED_OTHER;
	if (bpf_skb_load_bytes(ctx, packet->transport, ports, sizeof(ports)))
		return SWERVE_PARSED_OTHER;
	packet->source_port = ports[0];
	packet->destination_port = ports[1];
	packet->checksum = start + offsetof(struct swerve_icmp, checksum);
	packet->is_quoted = true;
	return SWERVE_PARSED_PORTS;
}

/* Reads the packet behind `l2_length` bytes of link header into a zeroed `packet`. */
static __always_inline enum swerve_parsed swerve_parse(struct __sk_buff *ctx, __u32 l2_length,
						       struct swerve_packet *packet)
{
	enum swerve_parsed parsed = swerve_parse_ip(ctx, l2_length, packet);

	if (parsed != SWERVE_PARSED_PORTS)
		return parsed;
	if (packet->protocol == IPPROTO_TCP)
		return swerve_parse_tcp(ctx, packet);
	if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6)
		return swerve_parse_icmp(ctx, packet);
	return SWERVE_PARSED_OTHER;
}

/*
 * Changes one port, `field` bytes into the TCP header. Ports are not part of the pseudo header, and a
 * sum over the whole packet stays as it is, for the checksum makes up for the port.
 */
static __always_inline long swerve_set_port(struct __sk_buff *ctx,
					    const struct swerve_packet *packet, __u32 field,
					    __u16 old, __u16 port)
{
	long failed;

	if (old == port)
		return 0;
	failed = bpf_l4_csum_replace(ctx, packet->checksum, old, port, sizeof(port));
	if (failed)
		return failed;
	return bpf_skb_store_bytes(ctx, packet->transport + field, &port, sizeof(port), 0);
}

static __always_inline long swerve_set_ports(struct __sk_buff *ctx,
					     const struct swerve_packet *packet, __u16 source,
					     __u16 destination)
{
	long failed = swerve_set_port(ctx, packet, offsetof(struct tcphdr, source),
				      packet->source_port, source);

	if (failed)
		return failed;
	return swerve_set_port(ctx, packet, offsetof(struct tcphdr, dest), packet->destination_port,
			       destination);
}

#endif
