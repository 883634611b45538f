"""The Python client against a served API, part after part; what fails raises."""

import faulthandler
import os
import sys

from kubernetes import config

import kinds
import leases
import services
import watching

# Before whoever runs this loses patience.
faulthandler.dump_traceback_later(150, exit=True)
config.load_kube_config(sys.argv[1])


def part(name, work):
    work()
    print("done", name, flush=True)


part("kinds", kinds.each_is_read_and_written_back)
part("services", services.are_created_changed_and_deleted)
part("applies", services.are_applied)
part("lists", watching.lists_are_paged_and_selected)
part("watches", watching.watches_resume)
part("restarts", watching.what_expired_is_listed_again)
part("elections", leases.one_candidate_leads_at_a_time)

# Threads of informers and candidates may still sit in requests; an interpreter that is taken down under them can abort or hang.
os._exit(0)
