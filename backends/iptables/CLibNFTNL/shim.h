/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnftnl, as Swift sees it: the library's own headers and the kernel's constants. Nothing here
 * needs a shim: objects are opaque, and a message is built into the caller's buffer.
 *
 * netinet/in.h comes first: linux/in.h then leaves out what the C library has defined.
 */
#include <netinet/in.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
