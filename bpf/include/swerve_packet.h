/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * swerve_packet.h - finds the TCP header of a packet and changes its ports.
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
	SWERVE_PARSED_TCP, /* all fields of the packet are set */
	SWERVE_PARSED_OTHER, /* not TCP, not whole, or the later part of a fragmented packet */
	/*
	 * TCP perhaps, but its ports or flags are out of sight: a first fragment without the whole
	 * header (RFC 1858), or more extension headers than anybody needs.
	 */
	SWERVE_PARSED_HIDDEN,
};

struct swerve_packet {
	struct swerve_addr source;
	struct swerve_addr destination;
	__u16 source_port; /* network order */
	__u16 destination_port; /* network order */
	__u32 tcp; /* where the TCP header is */
	bool is_fragment;
	bool is_syn; /* the first packet of a connection */
};

/* The same in every extension header but the fragment's, which has no length. */
struct swerve_extension {
	__u8 next;
	__u8 length; /* in units of eight bytes, the first not counted */
	__be16 fragment;
};

static __always_inline enum swerve_parsed swerve_parse_tcp(struct __sk_buff *ctx,
							   struct swerve_packet *packet)
{
	struct tcphdr tcp;

	if (bpf_skb_load_bytes(ctx, packet->tcp, &tcp, sizeof(tcp)))
		return packet->is_fragment ? SWERVE_PARSED_HIDDEN : SWERVE_PARSED_OTHER;
	packet->source_port = tcp.source;
	packet->destination_port = tcp.dest;
	packet->is_syn = tcp.syn && !tcp.ack;
	return SWERVE_PARSED_TCP;
}

static __always_inline enum swerve_parsed swerve_parse_ipv4(struct __sk_buff *ctx, __u32 offset,
							    struct swerve_packet *packet)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(ctx, offset, &ip, sizeof(ip)))
		return SWERVE_PARSED_OTHER;
	if (ip.protocol != IPPROTO_TCP || (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET)))
		return SWERVE_PARSED_OTHER;
	swerve_map_ipv4(&packet->source, ip.saddr);
	swerve_map_ipv4(&packet->destination, ip.daddr);
	packet->is_fragment = ip.frag_off & bpf_htons(IP_MORE_FRAGMENTS);
	packet->tcp = offset + ip.ihl * 4;
	return swerve_parse_tcp(ctx, packet);
}

static __always_inline enum swerve_parsed swerve_parse_ipv6(struct __sk_buff *ctx, __u32 offset,
							    struct swerve_packet *packet)
{
	struct swerve_extension extension;
	struct ipv6hdr ip;
	__u32 i;

	if (bpf_skb_load_bytes(ctx, offset, &ip, sizeof(ip)))
		return SWERVE_PARSED_OTHER;
	__builtin_memcpy(&packet->source, &ip.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip.daddr, sizeof(packet->destination));
	extension.next = ip.nexthdr;
	offset += sizeof(ip);
	for (i = 0; i <= SWERVE_EXTENSION_HEADERS; i++) {
		__u8 kind = extension.next;

		if (kind == IPPROTO_TCP) {
			packet->tcp = offset;
			return swerve_parse_tcp(ctx, packet);
		}
		if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_ROUTING &&
		    kind != IPPROTO_DSTOPTS && kind != IPPROTO_FRAGMENT)
			return SWERVE_PARSED_OTHER;
		if (bpf_skb_load_bytes(ctx, offset, &extension, sizeof(extension)))
			return packet->is_fragment ? SWERVE_PARSED_HIDDEN : SWERVE_PARSED_OTHER;
		offset += 8;
		if (kind != IPPROTO_FRAGMENT) {
			offset += extension.length * 8;
			continue;
		}
		if (extension.fragment & bpf_htons(IPV6_FRAGMENT_OFFSET))
			return SWERVE_PARSED_OTHER;
		packet->is_fragment |= !!(extension.fragment & bpf_htons(IPV6_MORE_FRAGMENTS));
	}
	return SWERVE_PARSED_HIDDEN;
}

/* Reads the packet that begins with `l2_length` bytes of link header. */
static __always_inline enum swerve_parsed swerve_parse(struct __sk_buff *ctx, __u32 l2_length,
						       struct swerve_packet *packet)
{
	packet->is_fragment = false;
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return swerve_parse_ipv4(ctx, l2_length, packet);
	if (ctx->protocol == bpf_htons(ETH_P_IPV6))
		return swerve_parse_ipv6(ctx, l2_length, packet);
	return SWERVE_PARSED_OTHER;
}

/*
 * Changes one port, `field` bytes into the TCP header. Ports are not part of the pseudo header, and a
 * sum over the whole packet stays as it is, for the checksum makes up for the port.
 */
static __always_inline long swerve_set_port(struct __sk_buff *ctx, const struct swerve_packet *packet,
					    __u32 field, __u16 old, __u16 port)
{
	long failed;

	if (old == port)
		return 0;
	failed = bpf_l4_csum_replace(ctx, packet->tcp + offsetof(struct tcphdr, check), old, port,
				     sizeof(port));
	if (failed)
		return failed;
	return bpf_skb_store_bytes(ctx, packet->tcp + field, &port, sizeof(port), 0);
}

static __always_inline long swerve_set_ports(struct __sk_buff *ctx,
					     const struct swerve_packet *packet, __u16 source,
					     __u16 destination)
{
	long failed = swerve_set_port(ctx, packet, offsetof(struct tcphdr, source),
				      packet->source_port, source);

	if (failed)
		return failed;
	return swerve_set_port(ctx, packet, offsetof(struct tcphdr, dest),
			       packet->destination_port, destination);
}

#endif
