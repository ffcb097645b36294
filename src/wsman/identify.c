#include "wsman/names.h"
#include "wsman/operation.h"

bool
operation_identify(Operation *self, GError **error)
{
    xml_open(self->body, "id:IdentifyResponse");
    xml_attribute(self->body, "xmlns:id", NS_IDENTITY);
    xml_element(self->body, "id:ProtocolVersion", NS_WSMAN);
    xml_element(self->body, "id:ProductVendor", "virt-replica");
    xml_element(self->body, "id:ProductVersion", self->anonymous ? "0.0.0" : self->server->product_version);
    if (self->profiles[0] != NULL) {
        xml_open(self->body, "id:SecurityProfiles");
        for (guint i = 0; self->profiles[i] != NULL; i++)
            xml_element(self->body, "id:SecurityProfileName", self->profiles[i]);
        xml_close(self->body);
    }
    xml_close(self->body);
    return true;
}
