// SPDX-License-Identifier: Apache-2.0

import Equivalence
import RedirectionModel
import TestedMechanisms

/// The mechanisms under proof.
typealias ProvenMechanism = TestedMechanism

extension ProvenMechanism {
    /// Reasons that only plans have which the mechanism refuses.
    var unreachable: Set<Reason> { isEBPF ? [.interface] : [] }

    /// What is known to differ, and must.
    var deviations: Set<Deviation> { isOld ? [.peerIsSidecar, .connectorOwns] : [] }
}
