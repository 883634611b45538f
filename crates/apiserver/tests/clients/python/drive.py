"""The Python client against a served API, part after part; what fails raises."""

import faulthandler
import sys
import threading

from kubernetes import config

import kinds
import leases
import services
import watching

# Before whoever runs this loses patience.
faulthandler.dump_traceback_later(170, exit=True)
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

# An informer's thread may still sit in a request that nobody waits for.
assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
