/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libiptc, as Swift sees it. The library is two twins, iptc_* for IPv4 and ip6tc_* for IPv6, that
 * differ in the entries they take and in nothing else; here they are one, told apart by a flag.
 *
 * Each part says why it exists:
 *   [errno]   only C can read errno before anything else runs
 *   [layout]  entries are packed, variable-length and hold unions: C's own structs lay them out
 *
 * What can fail returns 0 or a negative errno.
 */
#ifndef CLIBIPTC_SHIM_H
#define CLIBIPTC_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <libiptc/libip6tc.h>
#include <libiptc/libiptc.h>
#include <linux/module.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_TPROXY.h>
#include <linux/netfilter/xt_comment.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_owner.h>
#include <linux/netfilter/xt_tcpudp.h>

/* An open table: a snapshot of its rules, changed in memory and written back by commit. */
struct clibiptc_table {
	bool is_ipv6;
	struct xtc_handle *_Nonnull handle;
};

/* Calls the twin of the table's family. */
#define CLIBIPTC_(table, call, ...) \
	((table).is_ipv6 ? ip6tc_##call(__VA_ARGS__) : iptc_##call(__VA_ARGS__))

/* [errno] The library says 1 for success, and 0 with errno for failure. */
#define CLIBIPTC_RESULT(call) ((call) ? 0 : -errno)

static inline int clibiptc_open(bool is_ipv6, const char *_Nonnull name,
				struct xtc_handle *_Nullable *_Nonnull handle)
{
	*handle = is_ipv6 ? ip6tc_init(name) : iptc_init(name);
	return CLIBIPTC_RESULT(*handle);
}

static inline void clibiptc_close(struct clibiptc_table table)
{
	CLIBIPTC_(table, free, table.handle);
}

static inline int clibiptc_commit(struct clibiptc_table table)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, commit, table.handle));
}

/* What the last failed call's errno means; the library keeps which call that was in a global. */
static inline const char *_Nonnull clibiptc_explain(bool is_ipv6, int error)
{
	return is_ipv6 ? ip6tc_strerror(error) : iptc_strerror(error);
}

static inline const char *_Nullable clibiptc_first_chain(struct clibiptc_table table)
{
	return CLIBIPTC_(table, first_chain, table.handle);
}

static inline const char *_Nullable clibiptc_next_chain(struct clibiptc_table table)
{
	return CLIBIPTC_(table, next_chain, table.handle);
}

static inline int clibiptc_create_chain(struct clibiptc_table table, const char *_Nonnull chain)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, create_chain, chain, table.handle));
}

static inline int clibiptc_flush_chain(struct clibiptc_table table, const char *_Nonnull chain)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, flush_entries, chain, table.handle));
}

static inline int clibiptc_delete_chain(struct clibiptc_table table, const char *_Nonnull chain)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, delete_chain, chain, table.handle));
}

/* Adds an entry at the end of the chain, or so that it has this number, counted from 0. */
static inline int clibiptc_append(struct clibiptc_table table, const char *_Nonnull chain,
				  const void *_Nonnull entry)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, append_entry, chain, entry, table.handle));
}

static inline int clibiptc_insert(struct clibiptc_table table, const char *_Nonnull chain,
				  const void *_Nonnull entry, unsigned int number)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, insert_entry, chain, entry, number, table.handle));
}

/* Deletes the entry with this number, counted from 0. */
static inline int clibiptc_delete(struct clibiptc_table table, const char *_Nonnull chain,
				  unsigned int number)
{
	return CLIBIPTC_RESULT(CLIBIPTC_(table, delete_num_entry, chain, number, table.handle));
}

/* [layout] The entries of a chain, one after another; NULL at the end. */
static inline const void *_Nullable clibiptc_first_entry(struct clibiptc_table table,
							 const char *_Nonnull chain)
{
	return table.is_ipv6 ? (const void *)ip6tc_first_rule(chain, table.handle) :
			       (const void *)iptc_first_rule(chain, table.handle);
}

static inline const void *_Nullable clibiptc_next_entry(struct clibiptc_table table,
							const void *_Nonnull entry)
{
	return table.is_ipv6 ? (const void *)ip6tc_next_rule(entry, table.handle) :
			       (const void *)iptc_next_rule(entry, table.handle);
}

/* The name of the entry's target: a verdict, a chain or a module. */
static inline const char *_Nonnull clibiptc_target(struct clibiptc_table table,
						   const void *_Nonnull entry)
{
	const char *name = CLIBIPTC_(table, get_target, entry, table.handle);

	return name ? name : "";
}

/* [layout] The length of an entry with its matches and its target. */
static inline size_t clibiptc_size(bool is_ipv6, const void *_Nonnull entry)
{
	return is_ipv6 ? ((const struct ip6t_entry *)entry)->next_offset :
			 ((const struct ipt_entry *)entry)->next_offset;
}

/*
 * [layout] Copies an entry of the table in the form in which it can be added again: the kernel
 * says where a jump goes by an offset, the library wants to be told by name.
 */
static inline void clibiptc_copy(struct clibiptc_table table, const void *_Nonnull entry,
				 void *_Nonnull copy)
{
	size_t offset = table.is_ipv6 ? ((const struct ip6t_entry *)entry)->target_offset :
					((const struct ipt_entry *)entry)->target_offset;
	struct xt_entry_target *target = (void *)((char *)copy + offset);

	memcpy(copy, entry, clibiptc_size(table.is_ipv6, entry));
	strncpy(target->u.user.name, clibiptc_target(table, entry),
		sizeof(target->u.user.name) - 1);
}

/* [layout] How many packets the entry has matched. */
static inline uint64_t clibiptc_packets(bool is_ipv6, const void *_Nonnull entry)
{
	return is_ipv6 ? ((const struct ip6t_entry *)entry)->counters.pcnt :
			 ((const struct ipt_entry *)entry)->counters.pcnt;
}

/* [layout] The text of the entry's comment match, or NULL. */
static inline const char *_Nullable clibiptc_comment(bool is_ipv6, const void *_Nonnull entry)
{
	const struct ip6t_entry *v6 = entry;
	const struct ipt_entry *v4 = entry;
	size_t end = is_ipv6 ? v6->target_offset : v4->target_offset;
	size_t offset = is_ipv6 ? sizeof(*v6) : sizeof(*v4);

	while (offset + sizeof(struct xt_entry_match) <= end) {
		const struct xt_entry_match *match = (const void *)((const char *)entry + offset);

		if (strcmp(match->u.user.name, "comment") == 0)
			return ((const struct xt_comment_info *)match->data)->comment;
		if (match->u.match_size == 0)
			break;
		offset += match->u.match_size;
	}
	return NULL;
}

/*
 * [layout] An entry under construction: the header, then matches, then the target, in that order.
 * The buffer is the caller's, zeroed, and CLIBIPTC_ENTRY_MAX long.
 */
#define CLIBIPTC_ENTRY_MAX 1024

struct clibiptc_entry {
	bool is_ipv6;
	size_t size;
	unsigned char *_Nonnull bytes;
};

static inline void clibiptc_start(struct clibiptc_entry *_Nonnull entry)
{
	entry->size = entry->is_ipv6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry);
}

/* Sets the first `prefix` bits. */
static inline void clibiptc_mask(unsigned char *_Nonnull mask, int prefix)
{
	int bit;

	for (bit = 0; bit < prefix; bit++)
		mask[bit / 8] |= 0x80 >> bit % 8;
}

/* `address` is in network order and of the entry's family. */
static inline void clibiptc_match_source(struct clibiptc_entry *_Nonnull entry,
					 const uint8_t *_Nonnull address, int prefix)
{
	struct ip6t_entry *v6 = (struct ip6t_entry *)entry->bytes;
	struct ipt_entry *v4 = (struct ipt_entry *)entry->bytes;

	if (entry->is_ipv6) {
		memcpy(&v6->ipv6.src, address, 16);
		clibiptc_mask((unsigned char *)&v6->ipv6.smsk, prefix);
	} else {
		memcpy(&v4->ip.src, address, 4);
		clibiptc_mask((unsigned char *)&v4->ip.smsk, prefix);
	}
}

static inline void clibiptc_match_destination(struct clibiptc_entry *_Nonnull entry,
					      const uint8_t *_Nonnull address, int prefix)
{
	struct ip6t_entry *v6 = (struct ip6t_entry *)entry->bytes;
	struct ipt_entry *v4 = (struct ipt_entry *)entry->bytes;

	if (entry->is_ipv6) {
		memcpy(&v6->ipv6.dst, address, 16);
		clibiptc_mask((unsigned char *)&v6->ipv6.dmsk, prefix);
	} else {
		memcpy(&v4->ip.dst, address, 4);
		clibiptc_mask((unsigned char *)&v4->ip.dmsk, prefix);
	}
}

/* The mask covers the terminating zero, so that the name must match whole, or does not. */
static inline void clibiptc_name_interface(char *_Nonnull place, unsigned char *_Nonnull mask,
					   const char *_Nonnull name, bool is_prefix)
{
	size_t length = strnlen(name, IFNAMSIZ - 1);

	memcpy(place, name, length);
	memset(mask, 0xff, is_prefix ? length : length + 1);
}

static inline void clibiptc_match_in(struct clibiptc_entry *_Nonnull entry,
				     const char *_Nonnull name, bool is_prefix)
{
	struct ip6t_ip6 *v6 = &((struct ip6t_entry *)entry->bytes)->ipv6;
	struct ipt_ip *v4 = &((struct ipt_entry *)entry->bytes)->ip;

	if (entry->is_ipv6)
		clibiptc_name_interface(v6->iniface, v6->iniface_mask, name, is_prefix);
	else
		clibiptc_name_interface(v4->iniface, v4->iniface_mask, name, is_prefix);
}

static inline void clibiptc_match_out(struct clibiptc_entry *_Nonnull entry,
				      const char *_Nonnull name, bool is_prefix)
{
	struct ip6t_ip6 *v6 = &((struct ip6t_entry *)entry->bytes)->ipv6;
	struct ipt_ip *v4 = &((struct ipt_entry *)entry->bytes)->ip;

	if (entry->is_ipv6)
		clibiptc_name_interface(v6->outiface, v6->outiface_mask, name, is_prefix);
	else
		clibiptc_name_interface(v4->outiface, v4->outiface_mask, name, is_prefix);
}

static inline void clibiptc_match_protocol(struct clibiptc_entry *_Nonnull entry, uint8_t protocol)
{
	struct ip6t_ip6 *v6 = &((struct ip6t_entry *)entry->bytes)->ipv6;

	if (entry->is_ipv6) {
		v6->proto = protocol;
		v6->flags |= IP6T_F_PROTO;
	} else {
		((struct ipt_entry *)entry->bytes)->ip.proto = protocol;
	}
}

/* Adds a match of the named module and returns the place of its own data. */
static inline void *_Nonnull clibiptc_add_match(struct clibiptc_entry *_Nonnull entry,
						const char *_Nonnull name, uint8_t revision,
						size_t size)
{
	struct xt_entry_match *match = (struct xt_entry_match *)(entry->bytes + entry->size);

	strncpy(match->u.user.name, name, sizeof(match->u.user.name) - 1);
	match->u.user.revision = revision;
	match->u.match_size = XT_ALIGN(sizeof(*match)) + XT_ALIGN(size);
	entry->size += match->u.match_size;
	return match->data;
}

/* Which segments of a TCP connection: all, SYN without ACK, RST and FIN, or those without SYN. */
enum clibiptc_segment {
	CLIBIPTC_ANY,
	CLIBIPTC_FIRST,
	CLIBIPTC_LATER,
};

static inline void clibiptc_match_tcp(struct clibiptc_entry *_Nonnull entry, uint16_t source_first,
				      uint16_t source_last, uint16_t first, uint16_t last,
				      enum clibiptc_segment segment)
{
	struct xt_tcp *tcp = clibiptc_add_match(entry, "tcp", 0, sizeof(*tcp));

	tcp->spts[0] = source_first;
	tcp->spts[1] = source_last;
	tcp->dpts[0] = first;
	tcp->dpts[1] = last;
	if (segment == CLIBIPTC_FIRST) {
		tcp->flg_mask = 0x17;
		tcp->flg_cmp = 0x02;
	} else if (segment == CLIBIPTC_LATER) {
		tcp->flg_mask = 0x02;
	}
}

static inline void clibiptc_match_udp(struct clibiptc_entry *_Nonnull entry, uint16_t source_first,
				      uint16_t source_last, uint16_t first, uint16_t last)
{
	struct xt_udp *udp = clibiptc_add_match(entry, "udp", 0, sizeof(*udp));

	udp->spts[0] = source_first;
	udp->spts[1] = source_last;
	udp->dpts[0] = first;
	udp->dpts[1] = last;
}

/* `what` is XT_OWNER_UID or XT_OWNER_GID. */
static inline void clibiptc_match_owner(struct clibiptc_entry *_Nonnull entry, uint8_t what,
					uint32_t first, uint32_t last)
{
	struct xt_owner_match_info *owner = clibiptc_add_match(entry, "owner", 1, sizeof(*owner));

	owner->match = what;
	if (what == XT_OWNER_UID) {
		owner->uid_min = first;
		owner->uid_max = last;
	} else {
		owner->gid_min = first;
		owner->gid_max = last;
	}
}

/* All of `bits` are set in the mark of the tracked connection. */
static inline void clibiptc_match_connmark(struct clibiptc_entry *_Nonnull entry, uint32_t bits)
{
	struct xt_connmark_mtinfo1 *connmark =
		clibiptc_add_match(entry, "connmark", 1, sizeof(*connmark));

	connmark->mark = bits;
	connmark->mask = bits;
}

static inline void clibiptc_match_comment(struct clibiptc_entry *_Nonnull entry,
					  const char *_Nonnull text)
{
	struct xt_comment_info *info = clibiptc_add_match(entry, "comment", 0, sizeof(*info));

	strncpy(info->comment, text, XT_MAX_COMMENT_LEN - 1);
}

/* Adds the target and closes the entry; returns the place of the target's own data. */
static inline void *_Nonnull clibiptc_add_revised_target(struct clibiptc_entry *_Nonnull entry,
							 const char *_Nonnull name,
							 uint8_t revision, size_t size)
{
	struct xt_entry_target *target = (struct xt_entry_target *)(entry->bytes + entry->size);
	struct ip6t_entry *v6 = (struct ip6t_entry *)entry->bytes;
	struct ipt_entry *v4 = (struct ipt_entry *)entry->bytes;
	size_t offset = entry->size;

	strncpy(target->u.user.name, name, sizeof(target->u.user.name) - 1);
	target->u.user.revision = revision;
	target->u.target_size = XT_ALIGN(sizeof(*target)) + XT_ALIGN(size);
	entry->size += target->u.target_size;
	if (entry->is_ipv6) {
		v6->target_offset = offset;
		v6->next_offset = entry->size;
	} else {
		v4->target_offset = offset;
		v4->next_offset = entry->size;
	}
	return target->data;
}

static inline void *_Nonnull clibiptc_add_target(struct clibiptc_entry *_Nonnull entry,
						 const char *_Nonnull name, size_t size)
{
	return clibiptc_add_revised_target(entry, name, 0, size);
}

/* A verdict or a chain, by name; libiptc finds out which and numbers it. */
static inline void clibiptc_target_label(struct clibiptc_entry *_Nonnull entry,
					 const char *_Nonnull name, bool is_goto)
{
	clibiptc_add_target(entry, name,
			    sizeof(struct xt_standard_target) - sizeof(struct xt_entry_target));
	if (is_goto && entry->is_ipv6)
		((struct ip6t_entry *)entry->bytes)->ipv6.flags |= IP6T_F_GOTO;
	else if (is_goto)
		((struct ipt_entry *)entry->bytes)->ip.flags |= IPT_F_GOTO;
}

/* REDIRECT, revision 0: the kernel takes the old IPv4 range there and the newer one for IPv6. */
static inline void clibiptc_target_redirect(struct clibiptc_entry *_Nonnull entry, uint16_t port)
{
	struct nf_nat_ipv4_multi_range_compat *v4;
	struct nf_nat_range *v6;

	if (entry->is_ipv6) {
		v6 = clibiptc_add_target(entry, "REDIRECT", sizeof(*v6));
		v6->flags = NF_NAT_RANGE_PROTO_SPECIFIED;
		v6->min_proto.all = v6->max_proto.all = __builtin_bswap16(port);
	} else {
		v4 = clibiptc_add_target(entry, "REDIRECT", sizeof(*v4));
		v4->rangesize = 1;
		v4->range[0].flags = NF_NAT_RANGE_PROTO_SPECIFIED;
		v4->range[0].min.all = v4->range[0].max.all = __builtin_bswap16(port);
	}
}

/* TPROXY, revision 1: both families; no address of its own, no mark. */
static inline void clibiptc_target_tproxy(struct clibiptc_entry *_Nonnull entry, uint16_t port)
{
	struct xt_tproxy_target_info_v1 *tproxy =
		clibiptc_add_revised_target(entry, "TPROXY", 1, sizeof(*tproxy));

	tproxy->lport = __builtin_bswap16(port);
}

/* CONNMARK, revision 2, the one iptables-save(8) reads: sets `bits` and leaves the others. */
static inline void clibiptc_target_connmark(struct clibiptc_entry *_Nonnull entry, uint32_t bits)
{
	struct xt_connmark_tginfo2 *connmark =
		clibiptc_add_revised_target(entry, "CONNMARK", 2, sizeof(*connmark));

	connmark->ctmark = bits;
	connmark->ctmask = bits;
	connmark->mode = XT_CONNMARK_SET;
}

/* CT, revision 2, the one iptables-save(8) reads: nothing but the zone. */
static inline void clibiptc_target_zone(struct clibiptc_entry *_Nonnull entry, uint16_t zone)
{
	struct xt_ct_target_info_v1 *tracking =
		clibiptc_add_revised_target(entry, "CT", 2, sizeof(*tracking));

	tracking->zone = zone;
}

/* glibc has no function for finit_module(2). */
static inline int clibiptc_load_module(int file, bool is_compressed)
{
	int flags = is_compressed ? MODULE_INIT_COMPRESSED_FILE : 0;

	return syscall(SYS_finit_module, file, "", flags) < 0 ? -errno : 0;
}

#endif
