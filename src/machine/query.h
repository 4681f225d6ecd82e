/*
 * What a running machine answers about itself, as JSON values (the caller owns them; NULL when out
 * of memory). Control thread.
 */
#ifndef VIREO_MACHINE_QUERY_H
#define VIREO_MACHINE_QUERY_H

#include <jansson.h>

struct machine;

/* {"status": "running", "running": true} */
json_t *query_status(struct machine *machine);
/* {"name": -name, "uuid": -uuid}; null where none was given */
json_t *query_name(struct machine *machine);
/* [{"id": NIC, "model":, "netdev": {"id":, "type":, ...}, ...}, ...] */
json_t *query_network(struct machine *machine);
/* [{"id": NETDEV, "connections": [line, ...]}, ...], of those that know of connections */
json_t *query_usernet(struct machine *machine);
/* [{"slot":, "function":, "vendor":, ..., "bars": [...]}, ...] */
json_t *query_pci(struct machine *machine);
/* {"OWNER": {"PART": {"counter": n, ...}, ...}, ...} */
json_t *query_io(struct machine *machine);

#endif
