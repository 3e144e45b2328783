/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmnl, as Swift sees it: the library's own header, the kernel's netlink headers, and shims
 * for what Swift cannot reach. Each names its reason, as in clinux_shims.h.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <net/if.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/veth.h>

/* [errno] Opens a netlink socket that closes on exec. */
static inline int clibmnl_open(int bus, struct mnl_socket *_Nullable *_Nonnull socket)
{
	*socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	return *socket ? 0 : -errno;
}

/* [errno] Binds to a port the kernel chooses. */
static inline int clibmnl_bind(struct mnl_socket *_Nonnull socket)
{
	return mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
}

/* [errno] Has the kernel send what it multicasts to the group. */
static inline int clibmnl_join(struct mnl_socket *_Nonnull socket, int group)
{
	return mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0 ?
		       -errno :
		       0;
}

/* [errno] Sends one datagram. */
static inline long clibmnl_send(struct mnl_socket *_Nonnull socket, const void *_Nullable bytes,
				size_t size)
{
	ssize_t result = mnl_socket_sendto(socket, bytes, size);

	return result < 0 ? -errno : result;
}

/* [errno] Receives one datagram. */
static inline long clibmnl_receive(struct mnl_socket *_Nonnull socket, void *_Nonnull buffer,
				   size_t size)
{
	ssize_t result = mnl_socket_recvfrom(socket, buffer, size);

	return result < 0 ? -errno : result;
}

/* [errno] Receives one datagram if there is one: -EAGAIN if there is none. */
static inline long clibmnl_receive_now(struct mnl_socket *_Nonnull socket, void *_Nonnull buffer,
				       size_t size)
{
	ssize_t result = recv(mnl_socket_get_fd(socket), buffer, size, MSG_DONTWAIT);

	return result < 0 ? -errno : result;
}

/* [errno] [macro] Makes room for sending one datagram of `size` bytes. Needs CAP_NET_ADMIN. */
static inline int clibmnl_make_room(struct mnl_socket *_Nonnull socket, int size)
{
	int fd = mnl_socket_get_fd(socket);
	int result = setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));

	return result < 0 ? -errno : 0;
}

/* [macro] Constants that are macros with casts, or enumerators hidden behind macros. */
static const int clibmnl_iff_up = IFF_UP;
static const int clibmnl_ifa_f_nodad = IFA_F_NODAD;
static const int clibmnl_rt_table_main = RT_TABLE_MAIN;
static const int clibmnl_rt_table_local = RT_TABLE_LOCAL;
static const int clibmnl_rtprot_static = RTPROT_STATIC;
static const int clibmnl_rt_scope_link = RT_SCOPE_LINK;
static const int clibmnl_rtn_unicast = RTN_UNICAST;
static const long clibmnl_rta_dst = RTA_DST;
static const long clibmnl_rta_gateway = RTA_GATEWAY;
static const long clibmnl_rta_oif = RTA_OIF;
static const long clibmnl_rta_table = RTA_TABLE;
static const int clibmnl_rt_scope_host = RT_SCOPE_HOST;
static const int clibmnl_rtn_local = RTN_LOCAL;
