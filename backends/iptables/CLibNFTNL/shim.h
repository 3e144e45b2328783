#include <libnftnl/rule.h>
