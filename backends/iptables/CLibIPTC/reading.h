/* SPDX-License-Identifier: Apache-2.0 */
/* What shim.h writes into the tables, read back. */
#ifndef CLIBIPTC_READING_H
#define CLIBIPTC_READING_H

#include "shim.h"

/*
 * [layout] An entry of a table, taken apart. Pointers lead into the entry. What is not among the
 * matches that are built above, or is inverted, makes `is_ours` false.
 */
struct clibiptc_view {
	bool is_ours, is_goto, in_is_prefix, out_is_prefix, has_ports;
	const uint8_t *_Nonnull source, *_Nonnull source_mask;
	const uint8_t *_Nonnull destination, *_Nonnull destination_mask;
	char in[IFNAMSIZ + 1], out[IFNAMSIZ + 1];
	uint16_t protocol, source_ports[2], destination_ports[2];
	uint8_t owner; /* XT_OWNER_UID, XT_OWNER_GID or 0 */
	uint32_t first_owner, last_owner;
	enum clibiptc_segment segment;
	uint32_t mark, target_mark; /* bits of the connection's that are asked for, or set */
	uint16_t port, zone; /* of the target */
};

/* A name whose terminating zero does not count is the beginning of names. */
static inline bool clibiptc_is_prefix(const unsigned char *_Nonnull mask, const char *_Nonnull name)
{
	size_t length = strnlen(name, IFNAMSIZ - 1);

	return length > 0 && mask[length] == 0;
}

static inline void clibiptc_view_header(struct clibiptc_view *_Nonnull view, bool is_ipv6,
					const void *_Nonnull entry)
{
	const struct ip6t_ip6 *v6 = &((const struct ip6t_entry *)entry)->ipv6;
	const struct ipt_ip *v4 = &((const struct ipt_entry *)entry)->ip;

	view->source = is_ipv6 ? (const uint8_t *)&v6->src : (const uint8_t *)&v4->src;
	view->source_mask = is_ipv6 ? (const uint8_t *)&v6->smsk : (const uint8_t *)&v4->smsk;
	view->destination = is_ipv6 ? (const uint8_t *)&v6->dst : (const uint8_t *)&v4->dst;
	view->destination_mask = is_ipv6 ? (const uint8_t *)&v6->dmsk : (const uint8_t *)&v4->dmsk;
	memcpy(view->in, is_ipv6 ? v6->iniface : v4->iniface, IFNAMSIZ);
	memcpy(view->out, is_ipv6 ? v6->outiface : v4->outiface, IFNAMSIZ);
	view->in_is_prefix =
		clibiptc_is_prefix(is_ipv6 ? v6->iniface_mask : v4->iniface_mask, view->in);
	view->out_is_prefix =
		clibiptc_is_prefix(is_ipv6 ? v6->outiface_mask : v4->outiface_mask, view->out);
	view->protocol = is_ipv6 ? v6->proto : v4->proto;
	view->is_goto = is_ipv6 ? v6->flags & IP6T_F_GOTO : v4->flags & IPT_F_GOTO;
	view->is_ours = (is_ipv6 ? v6->invflags : v4->invflags) == 0;
}

static inline void clibiptc_view_match(struct clibiptc_view *_Nonnull view,
				       const struct xt_entry_match *_Nonnull match)
{
	const struct xt_tcp *tcp = (const void *)match->data;
	const struct xt_udp *udp = (const void *)match->data;
	const struct xt_owner_match_info *owner = (const void *)match->data;
	const struct xt_connmark_mtinfo1 *connmark = (const void *)match->data;
	const char *name = match->u.user.name;

	if (strcmp(name, "tcp") == 0) {
		view->has_ports = true;
		memcpy(view->source_ports, tcp->spts, sizeof(tcp->spts));
		memcpy(view->destination_ports, tcp->dpts, sizeof(tcp->dpts));
		if (tcp->flg_mask == 0x17 && tcp->flg_cmp == 0x02)
			view->segment = CLIBIPTC_FIRST;
		else if (tcp->flg_mask == 0x02 && tcp->flg_cmp == 0)
			view->segment = CLIBIPTC_LATER;
		view->is_ours &= !tcp->invflags && !tcp->option &&
				 (view->segment || tcp->flg_mask == 0);
	} else if (strcmp(name, "udp") == 0) {
		view->has_ports = true;
		memcpy(view->source_ports, udp->spts, sizeof(udp->spts));
		memcpy(view->destination_ports, udp->dpts, sizeof(udp->dpts));
		view->is_ours &= !udp->invflags;
	} else if (strcmp(name, "owner") == 0) {
		view->owner = owner->match;
		view->first_owner = owner->match == XT_OWNER_UID ? owner->uid_min : owner->gid_min;
		view->last_owner = owner->match == XT_OWNER_UID ? owner->uid_max : owner->gid_max;
		view->is_ours &= !owner->invert &&
				 (owner->match == XT_OWNER_UID || owner->match == XT_OWNER_GID);
	} else if (strcmp(name, "connmark") == 0) {
		view->mark = connmark->mark;
		view->is_ours &= !connmark->invert && connmark->mask == connmark->mark;
	} else if (strcmp(name, "comment") != 0) {
		view->is_ours = false;
	}
}

static inline void clibiptc_view_target(struct clibiptc_view *_Nonnull view, bool is_ipv6,
					const struct xt_entry_target *_Nonnull target)
{
	const struct nf_nat_ipv4_multi_range_compat *v4 = (const void *)target->data;
	const struct nf_nat_range *v6 = (const void *)target->data;
	const struct xt_tproxy_target_info_v1 *tproxy = (const void *)target->data;
	const struct xt_ct_target_info_v1 *tracking = (const void *)target->data;
	const struct xt_connmark_tginfo2 *connmark = (const void *)target->data;
	const char *name = target->u.user.name;

	if (strcmp(name, "REDIRECT") == 0)
		view->port = __builtin_bswap16(is_ipv6 ? v6->min_proto.all : v4->range[0].min.all);
	else if (strcmp(name, "TPROXY") == 0)
		view->port = __builtin_bswap16(tproxy->lport);
	else if (strcmp(name, "CONNMARK") == 0)
		view->target_mark = connmark->ctmark;
	else if (strcmp(name, "CT") == 0)
		view->zone = tracking->zone;
}

static inline struct clibiptc_view clibiptc_read(bool is_ipv6, const void *_Nonnull entry)
{
	const struct ip6t_entry *v6 = entry;
	const struct ipt_entry *v4 = entry;
	size_t end = is_ipv6 ? v6->target_offset : v4->target_offset;
	size_t offset = is_ipv6 ? sizeof(*v6) : sizeof(*v4);
	struct clibiptc_view view = {};

	clibiptc_view_header(&view, is_ipv6, entry);
	while (offset + sizeof(struct xt_entry_match) <= end) {
		const struct xt_entry_match *match = (const void *)((const char *)entry + offset);

		clibiptc_view_match(&view, match);
		if (match->u.match_size == 0)
			break;
		offset += match->u.match_size;
	}
	clibiptc_view_target(&view, is_ipv6, (const void *)((const char *)entry + end));
	return view;
}

#endif
