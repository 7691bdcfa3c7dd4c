package fleetpg
